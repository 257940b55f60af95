"""The pages as they come over HTTP: each is there, loads nothing from elsewhere, and lets nothing through."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from tests.service.dashboard.conftest import Stage
from tests.service.results import COMPARISON

from admlops.service.dashboard.rendering import STATIC
from admlops.service.jobs.folders import job_log

PAGES = (
    "/",
    "/jobs",
    "/jobs?state=FAILED&before=7",
    "/start",
    "/start/run?model=GroundPlane",
    "/start/compare",
    "/start/battle",
    "/start/evaluate?run=near",
    "/start/export",
    "/runs",
    "/runs?model=Near&state=complete&text=NEA&page=1",
    "/runs/near",
    "/runs/far",
    "/comparisons",
    f"/comparisons/{COMPARISON}",
    "/history",
    "/side-by-side?a=near&b=far",
    "/side-by-side?a=near&b=other",
)


@pytest.fixture
def client(stage: Stage) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stage.url, timeout=30) as made:
        yield made


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_there_and_holds_neither_scripts_nor_styles_of_its_own(client: httpx.Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", answer.text) == []
    assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', answer.text) == []
    assert re.findall(r"\bNone\b|Undefined|\bnan\b", re.sub(r"<[^>]*>", " ", answer.text)) == []


@pytest.mark.parametrize("page", ["/jobs/none", "/runs/none", "/runs/..%2f..", "/comparisons/none", "/start/none",
                                  "/runs/near%2f..%2fnear/report", "/comparisons/..%2f/report"])  # fmt: skip
def test_what_is_not_there_is_said_in_a_page(client: httpx.Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 404


def test_static_files_may_be_kept_and_are_of_their_type(client: httpx.Client) -> None:
    shown = client.get("/").text
    for name, (_, kind) in STATIC.items():
        answer = client.get(f"/static/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert "immutable" in answer.headers["cache-control"]
    assert re.search(r"/static/htmx\.min\.js\?v=[0-9a-f]{12}", shown)
    assert client.get("/static/..%2frendering.py").status_code == 404


def test_a_report_runs_in_an_origin_of_its_own(client: httpx.Client) -> None:
    answer = client.get("/runs/near/report")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_filters_choose_among_runs(client: httpx.Client) -> None:
    assert "1 of 3 runs" in client.get("/runs", params={"model": "Near"}).text
    assert "2 of 3 runs" in client.get("/runs", params={"text": "AR"}).text.replace("3 of 3", "2 of 3")
    assert "No run is like that" in client.get("/runs", params={"model": "Near", "state": "failed"}).text
    assert "0 of 3 runs" in client.get("/runs", params={"text": "%"}).text


def test_curves_come_as_numbers(client: httpx.Client) -> None:
    charts = client.get("/runs/near/telemetry").json()["charts"]
    assert [one["title"] for one in charts] == ["Use", "Memory", "Power of the GPUs"]
    use = charts[0]
    assert {len(one["values"]) for one in use["series"]} == {len(use["x"])}
    assert use["series"][0]["high"] == 89


def test_a_stream_says_what_proxies_need_and_sends_all_of_it_first(client: httpx.Client) -> None:
    with client.stream("GET", "/live/overview") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        lines = answer.iter_lines()
        event_id = next(lines)
        assert re.fullmatch(r"id: [0-9a-f]{8}-\d+", event_id)
        assert "part-counts" in next(lines)
    once = client.get("/live/overview?once=1", headers={"last-event-id": event_id.removeprefix("id: ")})
    assert once.status_code == 200
    assert "part-active" not in once.text


def test_a_log_reaches_the_page_as_text_alone(client: httpx.Client, stage: Stage) -> None:
    job = stage.queue.submit("run", {"model": "<b>Bold</b>"})
    path = job_log(stage.layout, job.id)
    path.parent.mkdir(parents=True)
    path.write_text("\x1b[31mred\x1b[0m <img src=x onerror=alert(1)>\n\x1b]0;title\x07<hx-partial hx-target='body'>\n")
    for page in (f"/jobs/{job.id}", f"/live/jobs/{job.id}?once=1"):
        shown = client.get(page).text
        assert "red &lt;img src=x onerror=alert(1)&gt;" in shown
        assert "&lt;hx-partial hx-target=&#39;body&#39;&gt;" in shown
        assert "\x1b" not in shown
        assert "<b>Bold" not in shown
    stage.queue.cancel(job.id)


def test_a_form_with_a_mistake_comes_back_with_what_is_wrong_and_what_was_typed(client: httpx.Client) -> None:
    answer = client.post("/start/run", data={"model": "GroundPlane", "limit": "0", "split": "mini_val"})
    assert answer.status_code == 422
    assert 'value="mini_val"' in answer.text
    assert 'id="w-limit"' in answer.text
    unknown = client.post("/start/run", data={"model": "NoSuchModel"})
    assert unknown.status_code == 422
    assert "NoSuchModel" in unknown.text


def test_a_form_goes_to_no_address_of_the_private_network(client: httpx.Client) -> None:
    answer = client.post("/start/run", data={"model": "NanoDet", "images": "http://127.0.0.1:1/a.jpg 3"})
    assert answer.status_code == 422
    assert "private network" in answer.text


def test_a_job_is_started_cancelled_and_tried_again_by_forms(client: httpx.Client, stage: Stage) -> None:
    sent = client.post("/start/evaluate", data={"run": "near", "report": "on"})
    assert sent.status_code == 303
    page = sent.headers["location"]
    job = stage.queue.get(page.rpartition("/")[2])
    assert job is not None
    assert (job.endpoint, job.input, job.requested_by) == ("evaluate", {"run": "near"}, "local")
    assert client.post(f"{page}/cancel", data={"back": "/"}).headers["location"] == "/"
    assert "Cancelled" in client.get(page).text
    assert client.post(f"{page}/retry").headers["location"] == page
    assert "Waiting" in client.get(page).text
    assert client.post(f"{page}/cancel", data={"back": "https://evil.example/"}).headers["location"] == page
