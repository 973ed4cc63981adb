"""What a container finds when it starts: environment, source, volumes."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from modal_proto import api_pb2 as pb

from .records import Image
from .volume_copies import MountedCopy
from .workspace import Workspace

INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME", "LD_LIBRARY_PATH")

# Runs in every container before anything else: at exit it tells which modules came from the checkout instead of from
# what was mounted. On Modal those imports fail.
SITECUSTOMIZE = """
import atexit, json, os, sys

def report():
    project, files = os.environ["FAKEMODAL_PROJECT"] + os.sep, os.environ["FAKEMODAL_FILES"]
    leaked = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and "site-packages" not in path:
            path = os.path.realpath(path)
            if path.startswith(project) and not path.startswith(files + os.sep) and not os.path.exists(files + path):
                leaked.append(name)
    with open(os.environ["FAKEMODAL_EXIT_REPORT"], "w") as file:
        json.dump({"leaked_modules": sorted(leaked)}, file)

atexit.register(report)
"""


class MissingObject(Exception):
    """A deployed function names a secret or volume that was deleted since."""


def image_layers(workspace: Workspace, image_id: str) -> list[Image]:
    """An image's layers, base first."""
    image = workspace.images.get(image_id)
    if image is None:
        return []
    below = [layer for base in image.proto.base_images for layer in image_layers(workspace, base.image_id)]
    return [*below, image]


def environment(workspace: Workspace, definition: pb.Function) -> dict[str, str]:
    """The host's few, then the image's ENV, then the secrets as they are now."""
    out = {name: os.environ[name] for name in INHERITED if name in os.environ}
    for layer in image_layers(workspace, definition.image_id):
        for command in layer.proto.dockerfile_commands:
            if command.startswith("ENV ") and "=" in command:
                name, value = command[4:].split("=", 1)
                if name != "PATH":  # that of the image, which does not exist here
                    out[name] = "".join(shlex.split(value))
    for secret_id in definition.secret_ids:
        secret = workspace.secrets.get(secret_id)
        if secret is None:
            raise MissingObject(f"Secret {secret_id} was deleted after the deployment")
        out.update(secret.values)
    return out


def lay_out_files(workspace: Workspace, definition: pb.Function, root: Path) -> None:
    """Writes everything mounted into the container below ``root``, at its absolute path."""
    mounts = [(mount_id, "/") for mount_id in definition.mount_ids]
    for layer in image_layers(workspace, definition.image_id):
        for command in layer.proto.dockerfile_commands:
            if layer.proto.context_mount_id and command.startswith("COPY . "):
                mounts.insert(0, (layer.proto.context_mount_id, command.split()[-1]))
    for mount_id, prefix in mounts:
        for file in workspace.mounts.get(mount_id, []):
            target = root / prefix.strip("/") / file.filename.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(workspace.file_folder / file.sha256_hex, target)
    (root / "root").mkdir(parents=True, exist_ok=True)


def copy_volumes(workspace: Workspace, definition: pb.Function, folder: Path) -> dict[str, MountedCopy]:
    """The container's own copy of each of its volumes as committed now, by volume id."""
    copies = {}
    for mount in definition.volume_mounts:
        volume = workspace.volumes.get(mount.volume_id)
        if volume is None:
            raise MissingObject(f"Volume {mount.volume_id} was deleted after the deployment")
        copy = MountedCopy(volume.id, volume.folder, folder / volume.id, mount.read_only)
        copy.fill()
        (copy.folder / mount.sub_path.strip("/")).mkdir(parents=True, exist_ok=True)
        copies[volume.id] = copy
    return copies
