"""What the control plane was told, as JSON: apps function by function, objects, calls, containers."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import modal
from modal_proto import api_pb2 as pb

from .container_files import image_layers
from .definitions import effective
from .records import SUCCESS, App, Call, Container, Function
from .workspace import Workspace

Json = dict[str, Any]

# modal.com/docs/guide/gpu, 2026; the client does not check the name
PLAIN_GPUS = {"T4", "L4", "A10", "A10G", "L40S", "RTX-PRO-6000", "ANY"}
BIG_GPUS = {"A100", "A100-40GB", "A100-80GB", "H100", "H100!", "H200", "B200", "B200+"}
GPUS = PLAIN_GPUS | BIG_GPUS
MAX_TIMEOUT = 24 * 3600
WEB = {number: name.removeprefix("WEBHOOK_TYPE_").lower() for name, number in pb.WebhookType.items()}
INVOCATION: dict[int, str] = {
    number: name.removeprefix("FUNCTION_CALL_INVOCATION_TYPE_").lower()
    for name, number in pb.FunctionCallInvocationType.items()
}


def build(workspace: Workspace) -> Json:
    return {
        "modal": {
            "version": modal.__version__,
            "python": sys.version.split()[0],
            "client": workspace.client_version,
            "client_python": workspace.client_python,
            "image_builder_version": workspace.builder_version,
        },
        "apps": [describe_app(workspace, app) for app in workspace.apps.values()],
        "secrets": [{"name": s.name, "keys": sorted(s.values)} for s in workspace.secrets.values() if s.name],
        "volumes": [
            {
                "name": volume.name,
                "version": volume.metadata.version or 1,
                "files": sorted(
                    str(path.relative_to(volume.folder)) for path in volume.folder.rglob("*") if path.is_file()
                ),
            }
            for volume in workspace.volumes.values()
        ],
        "dicts": {
            table.name: {_shorten(key): _shorten(value) for key, value in list(table.entries.items())}
            for table in workspace.tables.values()
        },
        "queues": {
            queue.name: {key.decode() or "(default)": len(items) for key, items in queue.partitions.items()}
            for queue in workspace.queues.values()
        },
        "calls": count_calls(workspace),
        "containers": [describe_container(container) for container in workspace.containers.values()],
        "rpcs": {kind: dict(sorted(counts.items())) for kind, counts in workspace.rpcs.items()},
        "rpcs_without_an_answer": dict(workspace.unanswered),
        "server_errors": list(workspace.errors),
        "notes": list(workspace.notes),
    }


def describe_app(workspace: Workspace, app: App) -> Json:
    functions = {
        tag: describe_function(workspace, workspace.functions[i]) for tag, i in sorted(app.function_ids.items())
    }
    return {
        "name": app.name,
        "id": app.id,
        "state": pb.AppState.Name(app.state).removeprefix("APP_STATE_").lower(),  # type: ignore[arg-type]
        "tags": app.tags,
        "deployments": app.deployments,
        "classes": sorted(app.class_ids),
        "functions": functions,
        "variants": [
            {
                "of": f.name,
                "params": _shorten(f.params) if f.params else None,
                "options": {d.name: str(v).strip() for d, v in f.options.ListFields()} if f.options else None,
            }
            for f in workspace.functions.values()
            if f.base and f.app_id == app.id
        ],
        "warnings": warnings(workspace, app, functions),
    }


def describe_function(workspace: Workspace, function: Function) -> Json:
    p = effective(workspace, function)
    scaling = p.autoscaler_settings
    placement = p.scheduler_placement
    out: Json = {
        "kind": "server" if p.is_server else "class" if p.is_class else "function",
        "module": p.module_name,
        "implementation": p.implementation_name,
        "definition": pb.Function.DefinitionType.Name(p.definition_type).removeprefix("DEFINITION_TYPE_").lower(),
        "generator": p.function_type == pb.Function.FUNCTION_TYPE_GENERATOR,
        "gpu": [{"type": g.gpu_type, "count": g.count} for g in gpu_choices(function) if g.gpu_type] or None,
        "cpu": p.resources.milli_cpu / 1000 or None,
        "cpu_limit": p.resources.milli_cpu_max / 1000 or None,
        "memory_mib": p.resources.memory_mb or None,
        "memory_limit_mib": p.resources.memory_mb_max or None,
        "ephemeral_disk_mib": p.resources.ephemeral_disk_mb or None,
        "timeout": p.timeout_secs,
        "startup_timeout": p.startup_timeout_secs,
        "retries": _retries(p),
        "schedule": describe_schedule(p.schedule if function.data is None else function.data.schedule),
        "min_containers": _set_or_none(scaling, "min_containers"),
        "max_containers": _set_or_none(scaling, "max_containers"),
        "buffer_containers": _set_or_none(scaling, "buffer_containers"),
        "scaledown_window": _set_or_none(scaling, "scaledown_window"),
        "concurrent": p.max_concurrent_inputs or None,
        "batched": p.batch_max_size or None,
        "single_use_containers": p.single_use_containers,
        "nonpreemptible": placement.nonpreemptible,
        "region": list(placement.regions),
        "routing_region": p.routing_region or None,
        "cloud": p.cloud_provider_str or None,
        "memory_snapshot": p.checkpointing_enabled,
        "experimental_options": dict(p.experimental_options) or None,
        "block_network": p.block_network,
        "restrict_modal_access": p.untrusted,
        "secrets": [_secret(workspace, secret_id) for secret_id in p.secret_ids],
        "volumes": [_volume(workspace, mount) for mount in p.volume_mounts],
        "web": _web(p.webhook_config, function.web_urls.get("", "")),
        "mounts": sorted(f.filename for mount_id in p.mount_ids for f in workspace.mounts.get(mount_id, [])),
        "image": describe_image(workspace, p.image_id),
    }
    if p.is_class:
        out["parameters"] = [parameter.name for parameter in p.class_parameter_info.schema]
        out["methods"] = {
            name: {
                "generator": method.function_type == pb.Function.FUNCTION_TYPE_GENERATOR,
                "web": _web(method.webhook_config, function.web_urls.get(name, "")),
            }
            for name, method in p.method_definitions.items()
        }
    return out


def describe_schedule(schedule: pb.Schedule) -> Json | None:
    which = schedule.WhichOneof("schedule_oneof")
    if which == "cron":
        return {"kind": "Cron", "cron": schedule.cron.cron_string, "timezone": schedule.cron.timezone}
    if which == "period":
        return {"kind": "Period"} | {field.name: value for field, value in schedule.period.ListFields()}
    return None


def describe_image(workspace: Workspace, image_id: str) -> Json:
    layers = []
    for image in image_layers(workspace, image_id):
        layer: Json = {"commands": list(image.proto.dockerfile_commands)}
        if image.proto.context_files:
            layer["context_files"] = {file.filename: len(file.data) for file in image.proto.context_files}
        if image.proto.context_mount_id:
            files = workspace.mounts.get(image.proto.context_mount_id, [])
            layer["context_mount"] = sorted(file.filename for file in files)
        if image.proto.secret_ids:
            layer["secrets"] = [_secret(workspace, secret_id) for secret_id in image.proto.secret_ids]
        layers.append(layer)
    top = workspace.images.get(image_id)
    return {
        "builder": top.builder_version if top else None,
        "python": top.python if top else None,
        "layers": layers,
    }


def describe_container(container: Container) -> Json:
    return {
        "function": container.function,
        "task": container.task_id,
        "pid": container.process.pid if container.process else None,
        "alive": container.alive,
        "inputs": container.inputs_taken,
        "exit": container.exit_code,
        "seconds": round(container.ended - container.started, 2) if container.ended else None,
        "ended_by": container.ended_by or None,
        "start_error": container.start_error or None,
        "leaked_modules": container.leaked_modules,
        "log": str(container.log_path),
    }


def count_calls(workspace: Workspace) -> Json:
    """Per function: calls by how they were made, and how their inputs ended."""
    out: Json = {}
    for call in workspace.calls.values():
        name = workspace.functions[call.function_id].name
        counts = out.setdefault(name, {"calls": {}, "inputs": 0, "ok": 0, "failed": 0, "unfinished": 0})
        how = INVOCATION.get(call.invocation, str(call.invocation))
        counts["calls"][how] = counts["calls"].get(how, 0) + 1
        counts["inputs"] += len(call.inputs)
        counts["unfinished"] += call.unfinished
        for status in final_statuses(call).values():
            counts["ok" if status == SUCCESS else "failed"] += 1
    return out


def final_statuses(call: Call) -> dict[str, int]:
    return {out.input_id: out.result.status for _, out in call.outputs}


def gpu_choices(function: Function) -> list[pb.GPUConfig]:
    """First choice first; more than one where the app gave a list."""
    if function.data is not None:
        return [ranked.function.resources.gpu_config for ranked in function.data.ranked_functions]
    assert function.proto is not None, "a described function was created"
    return [function.proto.resources.gpu_config]


def impossible(function: Function) -> list[str]:
    """What the client lets through and Modal's server refuses."""
    assert function.proto is not None, "a checked function is being created"
    gpus = [gpu.gpu_type for gpu in gpu_choices(function) if gpu.gpu_type]
    out = [f"GPU type {name!r} is not one Modal lists" for name in gpus if name not in GPUS]
    if gpus and function.proto.scheduler_placement.nonpreemptible:
        out.append("nonpreemptible is not supported with a GPU")
    limits = {"timeout": function.proto.timeout_secs, "startup_timeout": function.proto.startup_timeout_secs}
    out += [
        f"{name} {value} is outside 1..{MAX_TIMEOUT}" for name, value in limits.items() if not 1 <= value <= MAX_TIMEOUT
    ]
    return out


def warnings(workspace: Workspace, app: App, functions: dict[str, Json]) -> list[str]:
    """What is impossible, and what is possible but usually a mistake."""
    out = [f"{tag}: {reason}" for tag, i in app.function_ids.items() for reason in impossible(workspace.functions[i])]
    for tag, function in functions.items():
        if function["gpu"] and function["max_containers"] is None:
            out.append(f"{tag}: a GPU function with no max_containers has no cost ceiling of its own")
        schedule = function["schedule"]
        if schedule and schedule["kind"] == "Period":
            out.append(f"{tag}: a Period starts over at every deploy; a Cron does not")
        python, local = function["image"]["python"], workspace.client_python
        if python and local and not local.startswith(python + "."):
            out.append(f"{tag}: image Python {python}, local Python {local}: pickles may not cross")
        commands = [command for layer in function["image"]["layers"] for command in layer["commands"]]
        if any("astral-sh/uv:latest" in command for command in commands):
            out.append(f"{tag}: its image takes uv:latest; pin uv_version for repeatable builds")
    return sorted(set(out))


def _retries(p: pb.Function) -> Json | None:
    if not p.HasField("retry_policy"):
        return None
    policy = p.retry_policy
    return {
        "max_retries": policy.retries,
        "backoff_coefficient": policy.backoff_coefficient,
        "initial_delay_s": policy.initial_delay_ms / 1000,
        "max_delay_s": policy.max_delay_ms / 1000,
    }


def _secret(workspace: Workspace, secret_id: str) -> Json:
    secret = workspace.secrets.get(secret_id)
    return {"deleted": secret_id} if secret is None else {"name": secret.name or None, "keys": sorted(secret.values)}


def _volume(workspace: Workspace, mount: pb.VolumeMount) -> Json:
    volume = workspace.volumes.get(mount.volume_id)
    return {
        "path": mount.mount_path,
        "name": volume.name if volume else None,
        "version": (volume.metadata.version or 1) if volume else None,
        "read_only": mount.read_only,
        "sub_path": mount.sub_path or None,
    }


def _web(config: pb.WebhookConfig, url: str) -> Json | None:
    if not config.type:
        return None
    return {
        "type": WEB[config.type],
        "label": config.requested_suffix or None,
        "method": config.method or None,
        "requires_proxy_auth": config.requires_proxy_auth,
        "custom_domains": [domain.name for domain in config.custom_domains],
        "url": url,
    }


def _set_or_none(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _shorten(data: bytes) -> str:
    """A pickled value for reading; only ever our own project's."""
    try:
        return repr(pickle.loads(data))[:200]
    except Exception:  # noqa: BLE001 - a value of a class this process lacks may fail in any way; it is still listed
        return f"<{len(data)} bytes>"
