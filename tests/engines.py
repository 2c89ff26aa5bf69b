"""A stand-in for Elasticsearch and OpenSearch: answers as their published examples do, and remembers what it was asked.

It compares vectors one by one. It is as strict as the servers where that has bitten people: without `size` an answer
has ten hits, `_source` has no vectors (Elasticsearch from 9.2 on), unknown parts of a body are refused.
"""
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


class Engine:
    "One stand-in server; `requests` has (method, path, body) of each request"
    def __init__(self, kind):
        self.kind, self.indices, self.requests, self.refuse_bulk = kind, {}, [], 0
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", 2**16, True

            def answer(self):
                raw = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                path = self.path.partition("?")[0]
                lines = path.endswith(("/_bulk", "/_msearch"))
                body = [json.loads(s) for s in raw.splitlines() if s] if lines else json.loads(raw or "{}")
                engine.requests.append((self.command, self.path, body))
                engine.headers = {k.lower(): v for k, v in self.headers.items()}
                status, said = engine.handle(self.command, path, body)
                data = json.dumps(said).encode() if said is not None else b""
                if self.command == "HEAD":
                    data = b""
                self.send_response(status)
                if engine.kind == "elasticsearch":
                    self.send_header("X-Elastic-Product", "Elasticsearch")
                    self.send_header("content-type", "application/vnd.elasticsearch+json;compatible-with=9")
                else:
                    self.send_header("content-type", "application/json; charset=UTF-8")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer
            def log_message(self, *args): pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"{kind}://127.0.0.1:{self.server.server_port}"

    def end(self):
        self.server.shutdown()
        self.server.server_close()

    def handle(self, method, path, body):
        parts = path.strip("/").split("/")
        if parts[0] in ("_bulk", "_msearch"):
            return getattr(self, parts[0][1:])(body)
        name, action = parts[0], parts[1] if len(parts) > 1 else ""
        if action == "_bulk":
            return self.bulk(body)
        if method == "PUT" and not action:
            if name in self.indices:
                return 400, error(400, "resource_already_exists_exception", name)
            return self.create(name, body)
        if name not in self.indices:
            return 404, error(404, "index_not_found_exception", f"no such index [{name}]")
        index = self.indices[name]
        if method == "DELETE":
            del self.indices[name]
        if method in ("HEAD", "DELETE"):
            return 200, {"acknowledged": True}
        if action == "_mapping":
            return 200, {name: {"mappings": index["mappings"]}}
        if action == "_count":
            return 200, {"count": len(index["docs"]), "_shards": {"total": 1, "successful": 1, "failed": 0}}
        if action == "_mget":
            return 200, {"docs": [{"_index": name, "_id": i, "found": i in index["docs"]} for i in body["ids"]]}
        if action == "_search":
            try:
                return 200, self.search(index, body)
            except (KeyError, AssertionError) as e:
                return 400, error(400, "parsing_exception", repr(e))
        return 400, error(400, "illegal_argument_exception", path)

    def create(self, name, body):
        vector = body["mappings"]["properties"]["vector"]
        if self.kind == "elasticsearch":
            assert vector["type"] == "dense_vector" and vector["index_options"]["type"] == "hnsw"
            dim, metric = vector["dims"], vector["similarity"]
        else:
            assert body["settings"]["index"]["knn"] is True and vector["type"] == "knn_vector"
            dim, metric = vector["dimension"], vector["method"]["space_type"]
        metric = {"l2_norm": "l2", "max_inner_product": "innerproduct", "cosine": "cosinesimil"}.get(metric, metric)
        self.indices[name] = {"mappings": body["mappings"], "docs": {}, "dim": dim, "metric": metric}
        return 200, {"acknowledged": True, "shards_acknowledged": True, "index": name}

    def bulk(self, lines):
        items, lines = [], iter(lines)
        for head in lines:
            (op, where), = head.items()
            index, key = self.indices[where["_index"]], where["_id"]
            doc = next(lines) if op != "delete" else None
            item = {"_index": where["_index"], "_id": key, "status": 200}
            if self.refuse_bulk > 0:
                self.refuse_bulk -= 1
                item |= {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}
            elif op == "create" and key in index["docs"]:
                item |= {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "exists"}}
            elif doc is not None and index["metric"] == "cosinesimil" and not np.any(doc["vector"]):
                item |= {"status": 400, "error": {"type": "document_parsing_exception", "reason": "zero magnitude"}}
            elif op == "delete":
                index["docs"].pop(key)
            else:
                assert len(doc["vector"]) == index["dim"]
                index["docs"][key] = doc
            items.append({op: item})
        return 200, {"took": 1, "errors": any("error" in next(iter(i.values())) for i in items), "items": items}

    def msearch(self, lines):
        return 200, {"responses": [{**self.search(self.indices[h["index"]], b), "status": 200}
                                   for h, b in zip(lines[::2], lines[1::2])]}

    def search(self, index, body):
        assert set(body) <= {"size", "_source", "knn", "query", "fields"}, body
        size, k, among = body.get("size", 10), None, {"match_all": {}}
        if "ids" in body.get("query", ()):
            docs = {i: index["docs"][i] for i in body["query"]["ids"]["values"] if i in index["docs"]}
            hits = [{"_index": "i", "_id": i, "_score": 1.0, "_source": self.source(doc, body),
                     "fields": {f: doc[f] for f in body.get("fields", ())}} for i, doc in docs.items()]
            return {"took": 1, "timed_out": False, "hits": {"hits": hits[:size]}}
        if "knn" in body:                                              # Elasticsearch
            knn = body["knn"]
            assert self.kind == "elasticsearch" and knn["k"] <= knn["num_candidates"] <= 10_000
            q, k, among = knn["query_vector"], knn["k"], knn.get("filter", among)
        elif "knn" in body["query"]:                                   # OpenSearch
            knn = body["query"]["knn"]["vector"]
            assert self.kind == "opensearch"
            q, k, among = knn["vector"], knn["k"], knn.get("filter", among)
        else:
            s = body["query"]["script_score"]
            words = re.search(r"l2norm|dotProduct|cosineSimilarity|l2Squared|innerProduct", s["script"]["source"])
            assert words and ("doc['vector']" in s["script"]["source"]) == (self.kind == "opensearch")
            q, among = s["script"]["params"]["q"], s["query"]
        q, hits = np.array(q), []
        for key, doc in index["docs"].items():
            if not fits(doc.get("payload", {}), among):
                continue
            v = np.array(doc["vector"])
            if index["metric"] == "l2":
                score = 1 / (1 + ((q - v) ** 2).sum())
            elif index["metric"] == "innerproduct":
                score = q @ v + 1 if q @ v >= 0 else 1 / (1 - q @ v)
            else:
                score = (1 + q @ v / np.linalg.norm(q) / np.linalg.norm(v)) / 2
            hits.append({"_index": "i", "_id": key, "_score": float(score), "_source": self.source(doc, body)})
        hits.sort(key=lambda h: -h["_score"])
        hits = hits[:k][:size]
        return {"took": 1, "timed_out": False, "hits": {"total": {"value": len(hits), "relation": "eq"}, "hits": hits}}

    def source(self, doc, body):
        "What `_source` has: no vectors on Elasticsearch"
        hidden = "vector" if self.kind == "elasticsearch" else ""
        return {part: doc[part] for part in body.get("_source", ["payload"]) if part != hidden}


def error(status, kind, why):
    return {"error": {"root_cause": [{"type": kind, "reason": why}], "type": kind, "reason": why}, "status": status}


def fits(payload, query):
    "Whether a document fits a query of the kinds that we send"
    (kind, body), = query.items()
    if kind == "match_all":
        return True
    if kind == "bool":
        assert set(body) <= {"filter", "must_not", "should", "minimum_should_match"}
        return (all(fits(payload, q) for q in body.get("filter", ()))
                and not any(fits(payload, q) for q in body.get("must_not", ()))
                and ("should" not in body or any(fits(payload, q) for q in body["should"])))
    if kind == "exists":
        return payload.get(body["field"].removeprefix("payload.")) is not None
    (field, wanted), = body.items()
    values = payload.get(field.removeprefix("payload."))
    values = values if isinstance(values, list) else [] if values is None else [values]
    if kind == "range":
        return any(wanted.get("gte", v) <= v <= wanted.get("lte", v) for v in values)
    return any(v in (wanted if kind == "terms" else [wanted]) for v in values)
