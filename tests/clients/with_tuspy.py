"""An upload as a holder would script it with tuspy; what to do comes as JSON on standard input.

Run again after a failure, it goes on from where the upload stands.
"""

import json
import sys
import warnings

from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage


def main() -> None:
    """Upload or go on; the upload's address is printed."""
    told = json.load(sys.stdin)
    warnings.simplefilter("ignore", ResourceWarning)  # the library leaves its files open
    client = TusClient(told["endpoint"], headers={"Authorization": f"Bearer {told['token']}"})
    uploader = client.uploader(
        told["file"],
        chunk_size=told["chunk"] or sys.maxsize,
        metadata=told["metadata"],
        retries=told["retries"],
        retry_delay=1,
        store_url=True,
        url_storage=FileStorage(told["memory"]),
        upload_checksum=told.get("checksum", False),
    )
    uploader.upload()
    print(uploader.url)


if __name__ == "__main__":
    main()
