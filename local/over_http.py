"""The part of `make run` that goes over HTTP: ImageKit's SDK for Python, with nothing changed but its base URL."""

from collections.abc import Iterator

from worker.errors import KitsweepError


class OverHttpError(KitsweepError):
    """The SDK did not delete what it was asked to."""


def delete_over_http(base_url: str, private_key: str, file_ids: list[str]) -> Iterator[str]:
    """Delete files that exist, 100 per call; yield the request id of each call. Raises `OverHttpError`."""
    import imagekitio  # noqa: PLC0415 - installed for development only

    with imagekitio.ImageKit(private_key=private_key, base_url=base_url) as client:
        for start in range(0, len(file_ids), 100):
            chunk = file_ids[start : start + 100]
            answer = client.files.bulk.with_raw_response.delete(file_ids=chunk)
            if set(answer.parse().successfully_deleted_file_ids or ()) != set(chunk):
                raise OverHttpError(f"the SDK got status {answer.status_code}: {answer.text()}")
            yield answer.headers["X-Kitsweep-Request-Id"]
