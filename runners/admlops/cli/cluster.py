"""`admlops cluster`: Ray on machines that reach each other, started and ended over ssh."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.conventions import dry_run_option, say
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.execution.cluster.lifecycle import ClusterStatus, MachineStatus
    from admlops.execution.cluster.state import ClusterState

SSH_CONFIG = click.option(
    "--ssh-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ssh configuration file in place of your own.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(
    short_help="Start, look at and end a Ray cluster on machines that reach each other.",
    epilog="Example: admlops cluster status",
)
def cluster() -> None:
    """Start, look at and end a Ray cluster on machines that reach each other.

    One machine needs none of it: admlops run uses all of its GPUs. Machines that do not reach each other run shards.
    """


@cluster.command("up", epilog="Example: admlops cluster up root@10.0.0.2 root@10.0.0.3   # then: run … --executor ray")
@click.argument("hosts", nargs=-1, required=True, metavar="HOSTFILE|HOST...")
@click.option(
    "--bind", metavar="IP", help="This machine's address in the cluster. [default: MASTER_ADDR, or found out]"
)
@click.option("--port", type=click.IntRange(1024, 65535), default=6379, show_default=True, help="The head's port.")
@click.option("--checkout", metavar="PATH", help="admlops on the hosts. [default: the same path as here]")
@click.option("--gpus", type=click.IntRange(0), help="GPUs that this machine gives. [default: all]")
@click.option("--cpus", type=click.IntRange(0), help="CPUs that this machine gives. [default: all]")
@click.option("--no-work-here", is_flag=True, help="Run no workers on this machine.")
@click.option("--allow-public", is_flag=True, help="Take addresses of the public internet.")
@SSH_CONFIG
@dry_run_option
@AS_JSON
def up(
    hosts: tuple[str, ...],
    bind: str | None,
    port: int,
    checkout: str | None,
    gpus: int | None,
    cpus: int | None,
    no_work_here: bool,
    allow_public: bool,
    ssh_config: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Start Ray's head here and a node on each HOST, over ssh.

    A HOST is [USER@]NAME[:PORT]; a file has one a line, with options such as address=10.0.0.2 or checkout=/path. All
    machines must have the same commit of admlops, Python and Ray. A token guards the cluster.
    """
    from admlops.core.paths import find_layout
    from admlops.execution.cluster.hosts import read_hosts
    from admlops.execution.cluster.lifecycle import UpRequest
    from admlops.execution.cluster.lifecycle import up as start
    from admlops.execution.cluster.ssh import Machines

    layout = find_layout()
    _ = layout.checkout  # raises where the package is installed alone
    request = UpRequest(
        hosts=read_hosts(hosts),
        bind=bind,
        port=port,
        checkout=checkout,
        gpus=gpus,
        cpus=cpus,
        works_here=not no_work_here,
        allow_public=allow_public,
    )
    if dry_run:
        _show_up(request, as_json=as_json)
        return
    with Machines(ssh_config) as machines:
        state = start(layout, request, machines, say=say)
    if as_json:
        click.echo(json.dumps(_as_json(state), indent=2))
        return
    click.echo(f"cluster {state.id} is up at {state.address}: {count_of(len(state.nodes), 'node')}")
    click.echo("admlops run MODEL --executor ray   # uses it;  admlops cluster down   # ends it")


@cluster.command(
    "status", short_help="Show clusters and what was left over.", epilog="Example: admlops cluster status --clean"
)
@click.argument("name", required=False, metavar="[CLUSTER]")
@click.option("--clean", is_flag=True, help="End what was left: of runs that were killed, of clusters without a head.")
@SSH_CONFIG
@dry_run_option
@AS_JSON
def status(name: str | None, clean: bool, ssh_config: Path | None, dry_run: bool, as_json: bool) -> None:
    """Show the clusters that were started from here: nodes, GPUs, and processes that were left.

    CLUSTER is an id or an address; without it all of them. A process is found by the mark that it carries, whatever
    has become of its parents.
    """
    from admlops.core.types import Planned
    from admlops.execution.cluster import lifecycle
    from admlops.execution.cluster.ssh import Machines
    from admlops.execution.cluster.state import find_state, read_states

    states = read_states() if name is None else [find_state(name)]
    with Machines(ssh_config) as machines:
        found = lifecycle.status(machines, states)
        if clean and dry_run:
            from admlops.cli.dry_run import show_plan

            steps = [
                Planned(action="end", target=f"{one['role']} {one['pid']}", detail=f"on {one['node']}")
                for each in found
                for one in each.leftovers()
            ]
            show_plan(steps, as_json=as_json)
            return
        ended = [entry for one in found for entry in lifecycle.clean(one, machines)] if clean else None
    if as_json:
        clusters = [_status_json(one) for one in found]
        click.echo(json.dumps({"clusters": clusters, **({} if ended is None else {"ended": ended})}, indent=2))
        return
    for one in found:
        _print_status(one, cleaned=clean)
    if not found:
        click.echo("no cluster was started from here")
    if ended is not None:
        click.echo(f"ended {count_of(len(ended), 'process')}")
        for entry in ended:
            click.echo(f"  {entry['node']}: {entry['role']} {entry['pid']}")


@cluster.command("down", short_help="End a cluster on all of its machines.", epilog="Example: admlops cluster down")
@click.argument("name", required=False, metavar="[CLUSTER]")
@click.option("--force", is_flag=True, help="Forget the cluster even if a machine cannot be reached.")
@SSH_CONFIG
@dry_run_option
@AS_JSON
def down(name: str | None, force: bool, ssh_config: Path | None, dry_run: bool, as_json: bool) -> None:
    """End a cluster: every process of it on all of its machines, by process id, and nobody else's Ray.

    CLUSTER is an id or an address; without it the only one. A run that goes on there is stopped, and can be resumed.
    """
    from admlops.core.types import Planned
    from admlops.execution.cluster import lifecycle
    from admlops.execution.cluster.ssh import Machines
    from admlops.execution.cluster.state import find_state

    state = find_state(name)
    if dry_run:
        from admlops.cli.dry_run import show_plan

        where = [f"{node.name} ({node.address})" for node in state.nodes]
        show_plan([Planned(action="end", target=f"cluster {state.id} on {', '.join(where)}")], as_json=as_json)
        return
    with Machines(ssh_config) as machines:
        ended = lifecycle.down(state, machines, force=force)
    if as_json:
        click.echo(json.dumps({"cluster": state.id, "ended": ended}, indent=2))
        return
    click.echo(f"cluster {state.id} has ended: {count_of(len(ended), 'process')}")


def _show_up(request: Any, *, as_json: bool) -> None:
    from admlops.cli.dry_run import show_plan
    from admlops.core.types import Planned

    steps = [Planned(action="start", target="Ray's head here", detail=f"port {request.port}")]
    for host in request.hosts:
        address = host.address or "the address that ssh reaches"
        checkout = host.checkout or request.checkout or "the same checkout as here"
        steps.append(
            Planned(action="start", target=f"a node on {host.target}", detail=f"at {address}, from {checkout}")
        )
    show_plan(steps, as_json=as_json)


def _print_status(one: ClusterStatus, *, cleaned: bool) -> None:
    state = one.state
    click.echo(f"cluster {state.id} at {state.address}, Ray {state.ray}: {one.problem or 'up'}")
    counted = {entry["name"]: entry for entry in one.alive or ()}
    by_host = {machine.node.host: machine for machine in one.machines}
    for node in state.nodes:
        machine = by_host[node.host]
        found = _describe_node(counted.get(node.name), machine, answers=one.alive is not None)
        click.echo(f"  {node.name:<16} {node.address:<16} {found}")
    left = one.leftovers()
    if left and not cleaned:
        click.echo(f"  left over: {count_of(len(left), 'process')}; admlops cluster status --clean ends them")
        for entry in left:
            click.echo(f"    {entry['node']}: {entry['role']} {entry['pid']}")


def _describe_node(entry: Any, machine: MachineStatus, *, answers: bool) -> str:
    if machine.problem:
        return machine.problem
    if entry is None:
        return "Ray counts it as lost" if answers else "not known"
    return f"{count_of(entry['gpus'], 'GPU')}, {count_of(entry['cpus'], 'CPU')}"


def _status_json(one: ClusterStatus) -> dict[str, Any]:
    machines = [
        {"host": machine.node.host or None, "processes": list(machine.of(one.state.id)), "problem": machine.problem}
        for machine in one.machines
    ]
    return {
        **_as_json(one.state),
        "up": one.alive is not None,
        "problem": one.problem,
        "alive": None if one.alive is None else list(one.alive),
        "machines": machines,
        "leftovers": list(one.leftovers()),
    }


def _as_json(state: ClusterState) -> dict[str, Any]:
    nodes: Sequence[Any] = [
        {"name": node.name, "host": node.host or None, "address": node.address, "pids": node.pids}
        for node in state.nodes
    ]
    return {"cluster": state.id, "address": state.address, "ray": state.ray, "python": state.python, "nodes": nodes}
