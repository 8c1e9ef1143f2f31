"""A server that speaks Athena's protocol: it runs statements in DuckDB, and writes what UNLOAD writes to an S3 server.

Its tables are Parquet files of a local folder, with the hidden columns `$path` and `$file_modified_time`. As the real
one it writes rows unordered into files without an extension, leaves the files of an UNLOAD that failed where they are,
and names the files of one that succeeded in a manifest. It shows no permissions, costs or Athena's own SQL.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

_UNLOAD = re.compile(r"UNLOAD \((?P<query>.*)\) TO 's3://(?P<bucket>[^/]+)/(?P<prefix>[^']*)' WITH \(.*\)", re.S)


_TYPES = {"VARCHAR": "string", "INTEGER": "int", "TIMESTAMP WITH TIME ZONE": "timestamp with time zone"}


class Athena:
    """The state of a server: its tables, its queries, and what is to go wrong with the next ones."""

    def __init__(self, s3_endpoint: str) -> None:
        self.s3 = boto3.client(
            "s3",
            endpoint_url=s3_endpoint,
            region_name="us-east-1",
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )
        self.tables: dict[tuple[str, str], Path] = {}
        self.cutoff: int | None = 10**9
        self.workgroup: dict[str, Any] = {}
        self.scanned = 1000
        self.queries: dict[str, dict[str, Any]] = {}
        self.statements: list[str] = []
        self.stopped: list[str] = []
        self.goes_wrong: list[str] = []
        """For the next UNLOADs: hangs, fails half-way, loses the answer, a file more, row twice, rewritten."""
        self._lock = threading.Lock()

    def answer(self, action: str, given: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            return getattr(self, f"_{action}")(**given)

    def _GetWorkGroup(self, WorkGroup: str) -> dict[str, Any]:
        limit = {} if self.cutoff is None else {"BytesScannedCutoffPerQuery": self.cutoff}
        return {"WorkGroup": {"Name": WorkGroup, "Configuration": {**limit, **self.workgroup}}}

    def _GetTableMetadata(self, CatalogName: str, DatabaseName: str, TableName: str) -> dict[str, Any]:
        with duckdb.connect() as connection:
            self._view(connection, DatabaseName, TableName, self.tables[DatabaseName, TableName])
            found = connection.execute(f'DESCRIBE "{DatabaseName}"."{TableName}"').fetchall()
        own = [(name.lower(), kind) for name, kind, *_ in found if not name.startswith("$") and name != "day"]
        columns = [{"Name": name, "Type": _TYPES.get(kind, kind.lower())} for name, kind in own]
        partitions = [{"Name": "day", "Type": "string"}]
        table = {"Name": TableName, "TableType": "EXTERNAL_TABLE", "Columns": columns, "PartitionKeys": partitions}
        return {"TableMetadata": table}

    def _StartQueryExecution(self, **given: Any) -> dict[str, Any]:
        token = given["ClientRequestToken"]
        for name, query in self.queries.items():
            if query["token"] == token:
                return {"QueryExecutionId": name}
        name, statement = str(uuid4()), given["QueryString"]
        self.statements.append(statement)
        query = {"token": token, "state": "SUCCEEDED", "rows": [], "statistics": {"DataScannedInBytes": self.scanned}}
        self.queries[name] = query
        wrong = self.goes_wrong.pop(0) if statement.startswith("UNLOAD") and self.goes_wrong else ""
        if wrong == "hangs":
            query["state"] = "RUNNING"
            return {"QueryExecutionId": name}
        try:
            self._execute(name, statement, query, given["ResultConfiguration"]["OutputLocation"], wrong)
        except (duckdb.Error, LookupError) as error:
            query |= {"state": "FAILED", "why": f"{type(error).__name__}: {error}", "category": 2}
        if wrong == "loses the answer":
            raise ConnectionAbortedError
        return {"QueryExecutionId": name}

    def _GetQueryExecution(self, QueryExecutionId: str) -> dict[str, Any]:
        query = self.queries[QueryExecutionId]
        status: dict[str, Any] = {"State": query["state"]}
        if "why" in query:
            status |= {"StateChangeReason": query["why"], "AthenaError": {"ErrorCategory": query["category"]}}
        execution = {"QueryExecutionId": QueryExecutionId, "Status": status, "Statistics": query["statistics"]}
        return {"QueryExecution": execution}

    def _GetQueryResults(self, QueryExecutionId: str, NextToken: str = "0") -> dict[str, Any]:
        rows, first = self.queries[QueryExecutionId]["rows"], int(NextToken)
        page = [{"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]} for row in rows[first:][:7]]
        more = {"NextToken": str(first + 7)} if first + 7 < len(rows) else {}
        return {"ResultSet": {"Rows": page}, **more}

    def _StopQueryExecution(self, QueryExecutionId: str) -> dict[str, Any]:
        self.queries[QueryExecutionId]["state"] = "CANCELLED"
        self.stopped.append(QueryExecutionId)
        return {}

    def _execute(self, name: str, statement: str, query: dict[str, Any], output: str, wrong: str) -> None:
        unload = _UNLOAD.fullmatch(statement)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for (database, table), folder in self.tables.items():
                self._view(connection, database, table, folder)
            answer = connection.sql(unload["query"] if unload else statement).to_arrow_table()
        if unload is None:
            cells = [[None if cell is None else str(cell) for cell in row.values()] for row in answer.to_pylist()]
            query["rows"] = [answer.column_names, *cells]
            bucket, _, key = f"{output}{name}.csv".removeprefix("s3://").partition("/")
            self.s3.put_object(Bucket=bucket, Key=key, Body=b"rows")
            self.s3.put_object(Bucket=bucket, Key=f"{key}.metadata", Body=b"columns")
            return
        # Hidden columns are in no `*`.
        answer = answer.drop_columns([name for name in answer.column_names if name.startswith("$")])
        # Athena knows names in lower case only.
        answer = answer.rename_columns([column.lower() for column in answer.column_names])
        target = f"{unload['prefix']}"
        assert "Contents" not in self.s3.list_objects_v2(Bucket=unload["bucket"], Prefix=target), "not empty"
        if wrong == "row twice":
            answer = pa.concat_tables([answer, answer.slice(0, 1)])
        half = answer.num_rows // 2
        # The later half first: nobody may rest on the order of files.
        parts = [part for part in (answer.slice(half), answer.slice(0, half)) if part.num_rows]
        if wrong == "fails half-way":
            self._put(unload["bucket"], f"{target}{name}_0", parts[0])
            query |= {"state": "FAILED", "why": "GENERIC_INTERNAL_ERROR", "category": 1}
            return
        keys = [f"{target}{name}_{number}" for number in range(len(parts))]
        for key, part in zip(keys, parts, strict=True):
            self._put(unload["bucket"], key, part)
        if wrong == "a file more":
            self._put(unload["bucket"], f"{target}of_another_attempt", answer)
        if wrong == "rewritten":
            for file in next(iter(self.tables.values())).rglob("*.parquet"):
                pq.write_table(pq.ParquetFile(file).read(), file)
        manifest = "".join(f"s3://{unload['bucket']}/{key}\n" for key in keys)
        place = f"{output}{name}-manifest.csv"
        bucket, _, key = place.removeprefix("s3://").partition("/")
        self.s3.put_object(Bucket=bucket, Key=key, Body=manifest.encode())
        query["statistics"] = {**query["statistics"], "DataManifestLocation": place}

    def _put(self, bucket: str, key: str, rows: pa.Table) -> None:
        buffer = BytesIO()
        pq.write_table(rows, buffer, compression="snappy")
        self.s3.put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())

    def _view(self, connection: duckdb.DuckDBPyConnection, database: str, table: str, folder: Path) -> None:
        files = sorted(folder.rglob("*.parquet"))
        if not files:
            raise LookupError(f"TABLE_NOT_FOUND: {table}")
        times = ", ".join(f"('{file}', make_timestamp({file.stat().st_mtime_ns // 1000}))" for file in files)
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{database}"')
        connection.execute(
            f'CREATE VIEW "{database}"."{table}" AS SELECT rows.* EXCLUDE (filename, year, month, day), '
            f"CAST(make_date(CAST(year AS int), CAST(month AS int), CAST(day AS int)) AS varchar) AS day, "
            f'filename AS "$path", times.modified AS "$file_modified_time" '
            f"FROM read_parquet('{folder}/**/*.parquet', filename = true, hive_partitioning = true) rows "
            f"JOIN (VALUES {times}) times(file, modified) ON rows.filename = times.file"
        )


@contextmanager
def athena_server(s3_endpoint: str) -> Iterator[tuple[str, Athena]]:
    """Its address, and its state."""
    athena = Athena(s3_endpoint)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            action = self.headers["X-Amz-Target"].rpartition(".")[2]
            code = 200
            try:
                body = json.dumps(athena.answer(action, given)).encode()
            except ConnectionAbortedError:
                self.close_connection = True
                return
            except LookupError as error:
                code, body = 400, json.dumps({"__type": "MetadataException", "Message": str(error)}).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", athena
    finally:
        server.shutdown()
        server.server_close()
