"""Upload this checkout to a Hugging Face Space: `python -m scripts.upload_space anna/photo-to-painting`."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import httpx
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of httpx, or of httpx2
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from styletransfer import console

ROOT = Path(__file__).parent.parent
EXCLUDED = ("tests/", "benchmarks/", ".ci/")
OWN_FILES = {"styletransfer/losses.py", "styletransfer/loop.py"}  # a Space with one of them holds this project
Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete
MAX_BYTES = 10_000_000  # bytes: a larger file would need Git LFS


def files() -> list[str]:
    """The names of the files to upload: all that git tracks, without those that only developers need.

    Raises ValueError if git tracks none here, as after unpacking a ZIP file, or if one of them has been deleted.
    """
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        listed = ""
    found = [name for name in listed.split("\0") if name and not name.startswith(EXCLUDED)]
    if not found:
        raise ValueError(f"git tracks no files in {ROOT}: get the project with `git clone`, and upload from there")
    deleted = [name for name in found if not (ROOT / name).is_file()]
    if deleted:
        raise ValueError(f"git tracks files that are gone, {', '.join(deleted)}: bring them back with `git restore .`")
    return found


def content(name: str, space: str) -> bytes:
    """The bytes to upload of a file. In the README the thumbnail becomes a full URL, which a Space needs."""
    found = (ROOT / name).read_bytes()
    if name != "README.md":
        return found
    address = f"thumbnail: https://huggingface.co/spaces/{space}/resolve/main/"
    return found.replace(b"thumbnail: ", address.encode(), 1)


def main() -> None:
    """Upload, or with --dry-run list what would be uploaded."""
    console.escape_unprintable()
    parser = argparse.ArgumentParser(prog="python -m scripts.upload_space", description=__doc__)
    parser.add_argument("space", help="OWNER/NAME; it is created if it does not exist")
    parser.add_argument("--hardware", default="zero-a10g", help="for a new Space: zero-a10g (ZeroGPU) or cpu-basic")
    parser.add_argument("--private", action="store_true", help="for a new Space: only you can see it")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and upload nothing")
    options = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", options.space):
        parser.error(f"{options.space} names no Space: write OWNER/NAME, as in anna/photo-to-painting")
    try:
        validate_repo_id(options.space)
    except HFValidationError as error:
        parser.error(f"the Hub allows no such name: {error}")
    try:
        sizes = {name: (ROOT / name).stat().st_size for name in files()}
    except ValueError as error:
        parser.error(str(error))
    too_large = [name for name, size in sizes.items() if size > MAX_BYTES]
    if too_large:
        parser.error(f"over 10 MB, which a Space takes only by Git LFS: {', '.join(too_large)}")
    for name, size in sizes.items():
        print(f"{size:>10,}  {name}")
    print(f"{sum(sizes.values()):>10,}  bytes in {len(sizes)} files for {options.space}")
    if options.dry_run:
        return
    try:
        httpx.Client().close()
    except (ValueError, httpx.InvalidURL) as error:
        parser.error(f"a proxy in the environment (http_proxy, https_proxy, all_proxy) cannot be used: {error}")
    try:
        api = HfApi()
        hardware = {"space_sdk": "gradio", "space_hardware": options.hardware, "private": options.private}
        api.create_repo(options.space, repo_type="space", exist_ok=True, **hardware)
        existing = set(api.list_repo_files(options.space, repo_type="space")) - {".gitattributes"}
        if existing - {"README.md"} and existing.isdisjoint(OWN_FILES):
            sys.exit(f"{options.space} holds something else, which would be replaced: choose another name.")
        operations: list[Operation] = [
            *(CommitOperationAdd(name, content(name, options.space)) for name in sizes),
            *(CommitOperationDelete(name) for name in existing - sizes.keys()),
        ]
        done = api.create_commit(options.space, operations, commit_message="Upload", repo_type="space")
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        sys.exit(
            f"The Space was not updated: {str(error).splitlines()[0]} (`hf auth login` gives this machine a token.)"
        )
    except OfflineModeIsEnabled:
        parser.error("$HF_HUB_OFFLINE says that the Hub may not be used: unset it first")
    except HTTPError as error:
        why = str(error) or type(error).__name__
        advice = "check the network, or name its proxy in https_proxy"
        parser.error(f"{constants.ENDPOINT} cannot be reached ({why}): {advice}")
    print(done.repo_url)


if __name__ == "__main__":
    main()
