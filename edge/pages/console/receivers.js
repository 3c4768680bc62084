// Receivers of webhooks, whole: they check the signature, answer in time, and tell what they got. Tests run them.

/** @type {Record<string, { label: string, run: string, code: string }>} */
export const RECEIVERS = {
  javascript: {
    label: "JavaScript",
    run: "SECRET=whsec_… node receiver.mjs",
    code: String.raw`import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secret = Buffer.from(process.env.SECRET.replace("whsec_", ""), "base64");

function isGenuine(headers, body) {
  const id = headers["webhook-id"];
  const time = headers["webhook-timestamp"];
  const signatures = String(headers["webhook-signature"]);
  // An old one may be a recording.
  if (!(Math.abs(Date.now() / 1000 - time) < 300)) return false;
  const expected = createHmac("sha256", secret).update(id + "." + time + "." + body).digest();
  // There are two while the secret is being replaced.
  return signatures.split(" ").some((signature) => {
    const given = Buffer.from(signature.replace("v1,", ""), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  if (!isGenuine(request.headers, body)) return response.writeHead(401).end();
  // At once: work that takes long comes after the answer.
  response.writeHead(204).end();
  const run = JSON.parse(body);
  // The same event may come twice, with the same id.
  console.log(request.headers["webhook-id"], run.id, run.status, run.output);
}).listen(process.env.PORT ?? 3000);
`,
  },
  python: {
    label: "Python",
    run: "SECRET=whsec_… python3 receiver.py",
    code: String.raw`import base64, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

secret = base64.b64decode(os.environ["SECRET"].removeprefix("whsec_"))


def is_genuine(headers, body):
    id = headers.get("webhook-id", "")
    at = headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    # An old one may be a recording.
    if not at.isdecimal() or abs(time.time() - int(at)) > 300:
        return False
    digest = hmac.digest(secret, f"{id}.{at}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    # There are two while the secret is being replaced.
    return any(hmac.compare_digest(one.encode(), expected) for one in signatures.split())


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        genuine = is_genuine(self.headers, body)
        # At once: work that takes long comes after the answer.
        self.send_response(204 if genuine else 401)
        self.end_headers()
        if genuine:
            run = json.loads(body)
            # The same event may come twice, with the same id.
            print(self.headers["webhook-id"], run["id"], run["status"], run["output"], flush=True)


ThreadingHTTPServer(("", int(os.environ.get("PORT", 3000))), Receiver).serve_forever()
`,
  },
};
