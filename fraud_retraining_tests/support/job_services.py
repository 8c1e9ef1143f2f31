"""A server that speaks the protocols of EMR Serverless and Glue: a job that is started there runs a real process.

It shows no permissions, costs, images or capacity of the real ones. A job gets what they give it: the arguments of its
command line, credentials and an address of S3, and a master of Spark from whoever submits it.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from fraud_retraining_tests.support.company_servers import AWS

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "spark" / "days_job.py"
_RUN = re.compile(r"/applications/(\w+)/jobruns(?:/(\w+))?")

_APPLICATION = {
    "applicationId": "00f1",
    "arn": "arn:aws:emr-serverless:::00f1",
    "type": "Spark",
    "state": "STARTED",
    "createdAt": 0,
    "updatedAt": 0,
}


@dataclass
class Jobs:
    """The state of a server: its jobs, and what is to go wrong with the next ones."""

    folder: Path
    s3_endpoint: str = ""
    runs_processes: bool = True
    release: str = ""
    started: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    """States that a job says instead of what its process does."""
    goes_wrong: list[str] = field(default_factory=list)
    """For the next jobs: the driver dies; for the next looks: no answer; for the next start: denied."""
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, arguments: list[str], given: dict[str, Any]) -> str:
        job = uuid4().hex[:16]
        self.started.append(given)
        if not self.runs_processes:
            return job
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_RETRAINING_")}
        environment |= {**AWS, "AWS_ENDPOINT_URL_S3": self.s3_endpoint}
        environment["PYSPARK_SUBMIT_ARGS"] = "--master local[2] pyspark-shell"
        with (self.folder / f"{job}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *arguments], stdout=log, stderr=log, cwd=self.folder, env=environment
            )
        if self.goes_wrong[:1] == ["the driver dies"]:
            self.goes_wrong.pop(0)
            process.kill()
            process.wait()
            self.states[job] = "SUCCESS"
        self.processes[job] = process
        return job

    def state(self, job: str) -> str:
        """In the words of EMR Serverless."""
        if job in self.cancelled:
            return "CANCELLED"
        if job in self.states or not self.runs_processes:
            return self.states.get(job, "RUNNING")
        code = self.processes[job].poll()
        return "RUNNING" if code is None else "FAILED" if code else "SUCCESS"

    def cancel(self, job: str) -> None:
        self.cancelled.append(job)
        if job in self.processes:
            self.processes[job].terminate()

    def emr_serverless(self, method: str, path: str, given: dict[str, Any]) -> dict[str, Any]:
        if path.startswith("/applications/") and "jobruns" not in path:
            return {"application": _APPLICATION | {"releaseLabel": self.release}}
        found = _RUN.fullmatch(path)
        assert found is not None, path
        application, job = found.groups()
        if method == "POST":
            arguments = given["jobDriver"]["sparkSubmit"]["entryPointArguments"]
            job = self.start(arguments, given)
            return {"applicationId": application, "jobRunId": job, "arn": f"arn:aws:emr-serverless:::{job}"}
        if method == "DELETE":
            self.cancel(job)
            return {"applicationId": application, "jobRunId": job}
        state = self.state(job)
        return {
            "jobRun": {
                "applicationId": application,
                "jobRunId": job,
                "arn": f"arn:aws:emr-serverless:::{job}",
                "createdBy": "nobody",
                "createdAt": 0,
                "updatedAt": 0,
                "executionRole": "arn:aws:iam::0:role/nobody",
                "state": state,
                "stateDetails": "Job failed, please check complete logs." if state == "FAILED" else "",
                "releaseLabel": "emr-spark-8.0.0",
                "jobDriver": {"sparkSubmit": {"entryPoint": "s3://code/days_job.py"}},
            }
        }

    def glue(self, action: str, given: dict[str, Any]) -> dict[str, Any]:
        if action == "StartJobRun":
            arguments = [part for pair in given["Arguments"].items() for part in pair]
            return {"JobRunId": self.start(["--JOB_NAME", given["JobName"], *arguments], given)}
        if action == "BatchStopJobRun":
            for job in given["JobRunIds"]:
                self.cancel(job)
            return {"SuccessfulSubmissions": [{"JobRunId": job} for job in given["JobRunIds"]], "Errors": []}
        if action == "GetJob":
            return {"Job": {"Name": given["JobName"], "GlueVersion": self.release}}
        assert action == "GetJobRun", action
        state = {"SUCCESS": "SUCCEEDED", "CANCELLED": "STOPPED"}.get(found := self.state(given["RunId"]), found)
        reason = {"ErrorMessage": "SystemExit: 1"} if state == "FAILED" else {}
        return {"JobRun": {"Id": given["RunId"], "JobName": given["JobName"], "JobRunState": state, **reason}}


@contextmanager
def job_server(jobs: Jobs) -> Iterator[str]:
    """Its address; what still runs is killed at the end."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            wrong = jobs.goes_wrong.pop(0) if jobs.goes_wrong[:1] in (["no answer"], ["denied"]) else ""
            if wrong:
                code, kind = (503, "ServiceUnavailable") if wrong == "no answer" else (403, "AccessDeniedException")
                self._send(code, {"message": "not now, or not you"}, kind)
                return
            action = self.headers.get("X-Amz-Target")
            if action:
                self._send(200, jobs.glue(action.rpartition(".")[2], given))
            else:
                self._send(200, jobs.emr_serverless(self.command, self.path, given))

        do_POST = do_GET = do_DELETE = _answer

        def _send(self, code: int, answer: dict[str, Any], kind: str = "") -> None:
            body = json.dumps({"__type": kind, **answer} if kind else answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if kind:
                self.send_header("x-amzn-ErrorType", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        for process in jobs.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        server.shutdown()
        server.server_close()
