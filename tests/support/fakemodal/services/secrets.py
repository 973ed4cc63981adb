"""Secrets. Containers read the values when they start; creating one that exists changes nothing."""

from __future__ import annotations

from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from ..records import Secret
from ..workspace import not_found
from .base import Service


class Secrets(Service):
    def _metadata(self, secret: Secret) -> pb.SecretMetadata:
        created = pb.CreationInfo(created_at=secret.created, created_by="stand-in")
        return pb.SecretMetadata(
            name=secret.name, keys=sorted(secret.values), environment_name="main", creation_info=created
        )

    def _get(self, secret_id: str) -> Secret:
        secret = self.workspace.secrets.get(secret_id)
        if secret is None:
            raise not_found(f"Secret {secret_id} not found")
        return secret

    async def SecretGetOrCreate(self, request: Any, stream: Any) -> pb.SecretGetOrCreateResponse:
        name, how = request.deployment_name, request.object_creation_type
        secret = self.workspace.secret_named(name) if name else None
        if secret is None:
            secret = self._create(request)
        elif how == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Secret '{name}' already exists")
        elif how == pb.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
            secret.values = dict(request.env_dict)
        missing = [key for key in request.required_keys if key not in secret.values]
        if missing:
            raise not_found(f"Secret '{secret.name}' is missing key(s): {', '.join(missing)}")
        return pb.SecretGetOrCreateResponse(secret_id=secret.id, metadata=self._metadata(secret))

    def _create(self, request: Any) -> Secret:
        name = request.deployment_name
        if not name or request.object_creation_type != pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
            return self.workspace.add_secret(name, dict(request.env_dict))
        if self.workspace.strict:
            raise not_found(f"Secret '{name}' not found in environment 'main'")
        self.workspace.notes.append(f"secret {name!r} did not exist; made with keys {list(request.required_keys)}")
        return self.workspace.add_secret(name, {key: f"made-up-{key}" for key in request.required_keys})

    async def SecretGetInfo(self, request: Any, stream: Any) -> pb.SecretGetInfoResponse:
        return pb.SecretGetInfoResponse(metadata=self._metadata(self._get(request.secret_id)))

    async def SecretList(self, request: Any, stream: Any) -> pb.SecretListResponse:
        reply = pb.SecretListResponse(environment_name="main")
        for secret in self.workspace.secrets.values():
            if secret.name:
                reply.items.add(
                    label=secret.name,
                    secret_id=secret.id,
                    environment_name="main",
                    created_at=secret.created,
                    metadata=self._metadata(secret),
                )
        return reply

    async def SecretUpdate(self, request: Any, stream: Any) -> None:
        """Merges; keys that are not named stay."""
        self._get(request.secret_id).values.update({update.key: update.value for update in request.updates})

    async def SecretDelete(self, request: Any, stream: Any) -> None:
        del self.workspace.secrets[self._get(request.secret_id).id]
