"""`admlops serve`: the job API and the dashboard over HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from admlops.cli.conventions import dry_run_option, say
from admlops.cli.database_address import check_database

DEVICES = re.compile(r"(\d{1,3}|(GPU|MIG)-[0-9A-Za-z/-]{1,80})(,(\d{1,3}|(GPU|MIG)-[0-9A-Za-z/-]{1,80}))*")
PUBLIC_URL = re.compile(r"https?://[0-9A-Za-z.-]+(:\d{1,5})?/?")


@click.command(
    short_help="Serve the job API and the dashboard over HTTP.",
    epilog="Example: admlops serve --data-root /workspace/nuscenes --token-file tokens --host 0.0.0.0",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on; a public one needs tokens."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0: any free one."
)
@click.option(
    "--database", metavar="URL", help="The queue's database.  [default: SQLite, service/jobs.db beside the runs]"
)
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Lines `read TOKEN` or `run TOKEN`, or TOML; mode 600.",
)  # fmt: skip
@click.option(
    "--data-root", "data_roots", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder below which jobs may name data; may be repeated.",
)  # fmt: skip
@click.option("--runners", type=click.IntRange(0, 64), default=1, show_default=True, help="Jobs that run at a time.")
@click.option(
    "--device", "devices", multiple=True, metavar="NUMBERS",
    help="What the next runner may use, as CUDA_VISIBLE_DEVICES; may be repeated.  [default: all use all]",
)  # fmt: skip
@click.option(
    "--backup", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder that gets copies of the SQLite database, such as one on the volume.",
)  # fmt: skip
@click.option("--public-url", metavar="URL", help="The address that a proxy shows to the world.")
@click.option(
    "--webhook-secret", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the secret that signs webhooks; mode 600.",
)  # fmt: skip
@click.option(
    "--allow-private-addresses", is_flag=True, help="Let webhooks and pictures name addresses of the private network."
)
@click.option(
    "--request-time", type=click.IntRange(1, 3600), default=60, show_default=True, metavar="S",
    help="How long a request's headers, and then its body, may take.",
)  # fmt: skip
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def serve(
    host: str,
    port: int,
    database: str | None,
    token_file: Path | None,
    data_roots: tuple[Path, ...],
    runners: int,
    devices: tuple[str, ...],
    backup: Path | None,
    public_url: str | None,
    webhook_secret: Path | None,
    allow_private_addresses: bool,
    request_time: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Serve the job API, in RunPod's shape, and the dashboard until Ctrl-C.

    Without a token file only this machine may use it. With one, a link is printed that logs a browser in once.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.counting import count_of
    from admlops.core.paths import find_layout
    from admlops.core.types import Planned
    from admlops.service.jobs.settings import JobSettings
    from admlops.service.queue.database import default_backup, default_url
    from admlops.service.security.bodies import Limits
    from admlops.service.security.tokens import Tokens, read_secret_file, read_token_file
    from admlops.service.serving import check_settings, serve_until_stopped
    from admlops.service.settings import Settings

    _check_values(database, devices, public_url)
    layout = find_layout()
    settings = Settings(
        layout=layout,
        jobs=JobSettings(
            database=database or default_url(layout),
            data_roots=tuple(root.resolve() for root in (*data_roots, layout.data)),
            backup=backup or (default_backup(layout) if database is None else None),
        ),
        host=host,
        port=port,
        tokens=Tokens() if token_file is None else read_token_file(token_file),
        runners=runners,
        devices=devices,
        allow_private_addresses=allow_private_addresses,
        webhook_secret=None if webhook_secret is None else read_secret_file(webhook_secret),
        public_url=public_url,
        limits=Limits(header_s=request_time, body_s=request_time),
    )
    check_settings(settings)
    if dry_run:
        show_plan(
            [Planned(action="serve", target=settings.url, detail=f"{count_of(runners, 'job')} at a time")],
            as_json=as_json,
        )
        return

    def announce(url: str, link: str | None) -> None:
        if as_json:
            click.echo(json.dumps({"url": url, "login": link}))
            return
        click.echo(f"serving {url}")
        if link is not None:
            say(f"log a browser in, once: {link}")

    serve_until_stopped(settings, announce=announce)


def _check_values(database: str | None, devices: tuple[str, ...], public_url: str | None) -> None:
    """Refuse impossible values before anything begins. Raises UsageError."""
    from admlops.core.errors import UsageError

    if database is not None:
        check_database(database)
    wrong = next((one for one in devices if not DEVICES.fullmatch(one)), None)
    if wrong is not None:
        raise UsageError(f"--device {wrong!r} names no GPUs", hint="numbers, as in --device 0 --device 1, or 0,1")
    if public_url is not None and not PUBLIC_URL.fullmatch(public_url):
        raise UsageError(
            f"--public-url {public_url!r} is no address of a server",
            hint="name it as a browser shows it, such as https://POD-8000.proxy.runpod.net",
        )
