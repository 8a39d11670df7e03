"""The smallest S3 client that can sign: what the scripts beside it need, with nothing but the standard library."""

import datetime
import hashlib
import hmac
import html
import http.client
import re
import urllib.parse


class Client:
    """One kept-alive connection to one path-style endpoint."""

    def __init__(self, endpoint, access_key, secret_key, region="us-east-1", timeout=20):
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.access_key, self.secret_key, self.region = access_key, secret_key, region
        self.connection = http.client.HTTPConnection(self.host, timeout=timeout)

    def request(self, method, path, body=b"", query=None, headers=None):
        """Returns the status and the body; a broken connection is an OSError and the next request makes a new one."""
        target, signed = self._sign(method, path, query or {}, body, headers or {})
        try:
            self.connection.request(method, target, body=body, headers=signed)
            response = self.connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise OSError(f"{method} {path}: {error}") from error

    def keys(self, bucket, prefix):
        """The keys below `prefix`."""
        return [key for key, _ in self.objects(bucket, prefix)]

    def objects(self, bucket, prefix):
        """The keys below `prefix` and the sizes of their objects."""
        query, found = {"list-type": "2", "prefix": prefix}, []
        while True:
            status, body = self.request("GET", f"/{bucket}", query=query)
            if status != 200:
                raise OSError(f"LIST {bucket}/{prefix}: HTTP {status}")
            text = body.decode()
            for entry in re.findall(r"<Contents>(.*?)</Contents>", text, re.DOTALL):
                key, size = re.search(r"<Key>([^<]*)</Key>", entry), re.search(r"<Size>(\d+)</Size>", entry)
                found.append((key[1], int(size[1])))
            token = re.search(r"<NextContinuationToken>([^<]*)</NextContinuationToken>", text)
            if token is None:
                return found
            query["continuation-token"] = html.unescape(token[1])

    def copy(self, bucket, source, target):
        """Copies an object with its metadata; false when it is gone."""
        headers = {"x-amz-copy-source": f"/{bucket}/{source}"}
        status, body = self.request("PUT", f"/{bucket}/{target}", headers=headers)
        if status not in (200, 404):
            raise OSError(f"COPY {source}: HTTP {status} {body!r}")
        return status == 200

    def _sign(self, method, path, query, body, extra):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": now, **extra}
        quoted_path = urllib.parse.quote(path, safe="/-_.~")
        quoted_query = "&".join(
            f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in sorted(query.items())
        )
        names = ";".join(sorted(headers))
        lines = [method, quoted_path, quoted_query, *(f"{k}:{headers[k]}" for k in sorted(headers)), "", names, digest]
        canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{canonical}"
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        credential = f"{self.access_key}/{scope}"
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        return quoted_path + (f"?{quoted_query}" if quoted_query else ""), headers
