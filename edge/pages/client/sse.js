// Parses server-sent events as they arrive.

/** @typedef {{ id: string, type: string, data: string }} Message */

/** Ends a line: CR LF, LF or CR, but not a CR that a LF may still follow. */
const LINE_END = /\r\n|\n|\r(?!$)/;

/**
 * The messages of a stream. Ends with it; what it has left unfinished is dropped, as the specification says.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @returns {AsyncGenerator<Message, void, void>}
 */
export async function* messagesOf(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let message = { id: "", type: "", data: /** @type {string[]} */ ([]) };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split(LINE_END);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          const { id, type, data } = message;
          if (data.length > 0) yield { id, type: type || "message", data: data.join("\n") };
          message = { id, type: "", data: [] };
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") message.data.push(text);
        else if (field === "event") message.type = text;
        else if (field === "id" && !text.includes("\0")) message.id = text;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
