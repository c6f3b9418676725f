"""Images in an S3 bucket: the server gives each browser a signed address that is valid for some minutes.

al-loop stores no key. This machine writes images with its own key (AWS variables, files or role). The server
reads the images with a read-only key that al-loop passes to it, or with its own key.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from al_loop.core.errors import ConfigError, LabelStudioError
from al_loop.labelling.client.client import Api
from al_loop.labelling.client.failures import UnreachableError
from al_loop.labelling.client.image_serving import STORAGE_SETTINGS, stored_name
from al_loop.labelling.client.task import OutgoingTask

_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class S3Objects:
    """Write images into a bucket and let the server sign their addresses.

    url: s3://bucket/folder.  endpoint: address of an S3 server other than Amazon's.
    minutes: validity of a signed address.
    key_id, secret: the server's key for reading; None if the server has its own.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    minutes: int = 60
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the URL."""
        if not self.url.startswith("s3://") or not self.bucket:
            raise ConfigError(
                f"label_studio.s3.url: expected bucket and folder, like s3://labels/al-loop, got {self.url!r}"
            )

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.url.removeprefix("s3://").split("/")[0]

    @property
    def prefix(self) -> str:
        """The folder in the bucket, without slashes at its ends."""
        return self.url.removeprefix("s3://").partition("/")[2].strip("/")

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Write missing images and give the server access to the folder."""
        folder = "/".join(filter(None, (self.bucket, self.prefix)))
        objects = {f"{folder}/{stored_name(task)}": task for task in tasks}
        self._write(folder, objects)
        if tasks:
            self._give_access(api, project_id)
        return {task.key: f"s3://{path}" for path, task in objects.items()}

    def content_type(self, api: Api, project_id: int, url: str) -> str:
        """Request an image at the address that the server signs; return its content type."""
        import httpx

        signed = api.resolve(project_id, url)
        place = signed.partition("?")[0]  # without the signature
        try:
            with httpx.stream("GET", signed, headers={"Origin": api.base_url}, timeout=_TIMEOUT_S) as answer:
                status, headers = answer.status_code, answer.headers
        except httpx.HTTPError as error:
            raise LabelStudioError(f"{place} does not answer ({type(error).__name__})") from None
        if status != 200:
            raise LabelStudioError(f"{place} answers {status}: may the server's key read the bucket?")
        if headers.get("access-control-allow-origin") not in ("*", api.base_url):
            raise LabelStudioError(
                f"the bucket {self.bucket} does not allow pages of {api.base_url} to read it. "
                "Add that origin, with GET, to the bucket's CORS rules"
            )
        return str(headers.get("content-type", ""))

    def _write(self, folder: str, objects: dict[str, OutgoingTask]) -> None:
        store = self._store()
        from botocore.exceptions import BotoCoreError

        try:
            sizes = _sizes(store, folder)
            paths = {name: task.image_path for name, task in objects.items()}
            missing = {name: str(p) for name, p in paths.items() if sizes.get(name) != p.stat().st_size}
            if missing:
                store.put(list(missing.values()), list(missing))
        except (OSError, BotoCoreError) as error:
            raise LabelStudioError(
                f"images cannot be written to {self.url}: {error}. Give this machine AWS credentials that "
                "may list and write there (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile), then "
                "run: al-loop label-studio check"
            ) from None

    def _store(self) -> Any:
        """Return an s3fs file system: al-loop uses fsspec for every object store."""
        try:
            import s3fs
        except ModuleNotFoundError:
            raise ConfigError(
                "label_studio.images = \"s3\" needs the package s3fs: pip install 'al-loop[s3]'"
            ) from None
        client = {"region_name": self.region} if self.region else {}
        return s3fs.S3FileSystem(endpoint_url=self.endpoint, client_kwargs=client, skip_instance_cache=True)

    def _give_access(self, api: Api, project_id: int) -> None:
        """Create the storage, or update it, since its key may have been replaced."""
        settings = STORAGE_SETTINGS | {
            "project": project_id,
            "bucket": self.bucket,
            "prefix": self.prefix,
            "region_name": self.region,
            "s3_endpoint": self.endpoint,
            "presign": True,
            "presign_ttl": self.minutes,
        }
        if self.key_id:
            settings |= {"aws_access_key_id": self.key_id, "aws_secret_access_key": self.secret}
        place = (self.bucket, self.prefix)
        storages = [s for s in api.storages("s3", project_id) if (s.get("bucket"), s.get("prefix")) == place]
        if storages and not self.key_id and settings.items() <= storages[0].items():
            return
        try:
            api.save_storage("s3", storages[0]["id"] if storages else None, settings)
        except UnreachableError:
            raise
        except LabelStudioError as error:  # the server does not pass on the answer of S3
            raise LabelStudioError(
                f"the server cannot read {self.url} ({error}). Its key, from the variables of "
                "label_studio.s3.key_env and secret_env (AL_LOOP_S3_KEY_ID, AL_LOOP_S3_SECRET_KEY), must be "
                f"allowed to list and read there. {self.endpoint or 'S3'} must be reachable from the server: "
                "for an address inside the plant, start the server with SSRF_PROTECTION_ENABLED=false"
            ) from None


def server_key(key_env: str, secret_env: str) -> tuple[str | None, str | None]:
    """Return the server's key from the two variables; ConfigError if only one of them is set."""
    key_id, secret = (os.environ.get(name, "").strip() or None for name in (key_env, secret_env))
    if (key_id is None) != (secret is None):
        set_, missing = (key_env, secret_env) if key_id else (secret_env, key_env)
        raise ConfigError(f"the variable {set_} is set and {missing} is not: set both, or none")
    return key_id, secret


def _sizes(store: Any, folder: str) -> dict[str, int]:
    """Return the size of each object in a folder; {} if the folder does not exist."""
    try:
        return {item["name"]: item["size"] for item in store.ls(folder, detail=True, refresh=True)}
    except FileNotFoundError:
        return {}
