"""What the server tells clients and containers about functions: handles, definitions, the layout of an app."""

from __future__ import annotations

from modal_proto import api_pb2 as pb

from .records import App, Function
from .workspace import Workspace

OVERRIDABLE = (  # fields that `with_options` may replace, named alike in the options and in the definition
    "concurrency_limit",
    "timeout_secs",
    "task_idle_timeout_secs",
    "max_concurrent_inputs",
    "target_concurrent_inputs",
    "batch_max_size",
    "batch_linger_ms",
)


def root(workspace: Workspace, function: Function) -> Function:
    """The function a variant was made from; itself for any other."""
    return workspace.functions[function.base] if function.base else function


def handle_metadata(workspace: Workspace, function: Function) -> pb.FunctionHandleMetadata:
    base = root(workspace, function)
    source = base.proto or base.precreate
    assert source is not None, "a function is created before anybody asks for its handle"
    handle = pb.FunctionHandleMetadata(
        function_name=base.name,
        function_type=source.function_type,
        web_url=base.web_urls.get("", ""),
        definition_id=base.definition_id,
        app_id=base.app_id,
        base_function_id=function.base,
        supported_input_formats=source.supported_input_formats,
        supported_output_formats=source.supported_output_formats,
    )
    if source.HasField("function_schema"):
        handle.function_schema.CopyFrom(source.function_schema)
    if base.proto is not None:
        handle.class_parameter_info.CopyFrom(base.proto.class_parameter_info)
    for name, definition in source.method_definitions.items():
        method = handle.method_handle_metadata[name]
        method.function_name = definition.function_name
        method.function_type = definition.function_type
        method.is_method = True
        method.use_method_name = name
        method.web_url = base.web_urls.get(name, "")
        method.app_id = base.app_id
        method.supported_input_formats.extend(definition.supported_input_formats)
        method.supported_output_formats.extend(definition.supported_output_formats)
        if definition.HasField("function_schema"):
            method.function_schema.CopyFrom(definition.function_schema)
        if base.proto is not None:
            method.class_parameter_info.CopyFrom(base.proto.class_parameter_info)
    return handle


def function_data(workspace: Workspace, function: Function) -> pb.FunctionData:
    """The ranked form of a definition; made from the plain form where the client sent only that."""
    base = root(workspace, function)
    if base.data is not None:
        return base.data
    assert base.proto is not None, "a function is created before anybody asks for its definition"
    data = pb.FunctionData()
    for target in pb.FunctionData.DESCRIPTOR.fields:
        source = pb.Function.DESCRIPTOR.fields_by_name.get(target.name)
        if source is None or source.type != target.type:
            continue
        value = getattr(base.proto, target.name)
        if target.is_repeated:
            if len(value):
                getattr(data, target.name).MergeFrom(value)
        elif target.message_type is not None:
            if base.proto.HasField(target.name):  # type: ignore[arg-type]
                getattr(data, target.name).CopyFrom(value)
        else:
            setattr(data, target.name, value)
    data.ranked_functions.add(rank=0).function.CopyFrom(base.proto)
    return data


def effective(workspace: Workspace, function: Function) -> pb.Function:
    """The definition a container of this function (or variant) runs with."""
    base = root(workspace, function)
    definition = pb.Function()
    if base.proto is not None:
        definition.CopyFrom(base.proto)
    for settings in (base.autoscaler, function.autoscaler):
        if settings is not None:
            definition.autoscaler_settings.MergeFrom(settings)
    options = function.options
    if options is None:
        return definition
    if options.replace_secret_ids:
        del definition.secret_ids[:]
        definition.secret_ids.extend(options.secret_ids)
    if options.replace_volume_mounts:
        del definition.volume_mounts[:]
        definition.volume_mounts.extend(options.volume_mounts)
    if options.HasField("resources"):
        definition.resources.MergeFrom(options.resources)
    if options.HasField("retry_policy"):
        definition.retry_policy.CopyFrom(options.retry_policy)
    for name in OVERRIDABLE:
        if options.HasField(name):  # type: ignore[arg-type]
            setattr(definition, name, getattr(options, name))
    return definition


def layout(workspace: Workspace, app: App) -> pb.AppLayout:
    """Everything a container's handles may refer to, hydrated. Modal sends what the app uses; we send all there is."""
    out = pb.AppLayout(function_ids=app.function_ids, class_ids=app.class_ids)
    for function_id in app.function_ids.values():
        handle = handle_metadata(workspace, workspace.functions[function_id])
        out.objects.add(object_id=function_id).function_handle_metadata.CopyFrom(handle)
    for class_id in app.class_ids.values():
        out.objects.add(object_id=class_id).class_handle_metadata.CopyFrom(pb.ClassHandleMetadata())
    for volume in workspace.volumes.values():
        out.objects.add(object_id=volume.id).volume_metadata.CopyFrom(volume.metadata)
    for mount_id in workspace.mounts:
        checksum = pb.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)
        out.objects.add(object_id=mount_id).mount_handle_metadata.CopyFrom(checksum)
    for object_id in (*workspace.secrets, *workspace.tables, *workspace.queues, *workspace.images):
        out.objects.add(object_id=object_id)
    return out
