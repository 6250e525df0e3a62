// Asks by HTTP/1.1 with connections that are kept, or by HTTP/2 with streams of one; prints seconds.
import http2 from "node:http2";
import https from "node:https";

const [protocol, host, port, name, counted, atOnce] = process.argv.slice(2);
// Only what requests take is measured, so who vouches for the server does not matter.
const options = { host, port, servername: name, rejectUnauthorized: false };
const asks = { "HTTP/1.1": overHTTP1, "HTTP/2": overHTTP2 };

function overHTTP1() {
  const agent = new https.Agent({ keepAlive: true, maxSockets: +atOnce });
  const ask = () => new Promise((resolve, reject) => {
    https.get({ ...options, agent, path: "/", headers: { Host: name } }, (answer) => {
      answer.on("data", () => {});
      answer.on("end", () => (answer.statusCode === 200 ? resolve() : reject(new Error(answer.statusCode))));
    }).on("error", reject);
  });
  return { ask, end: () => agent.destroy() };
}

function overHTTP2() {
  const session = http2.connect(`https://${name}:${port}`, options);
  const ask = () => new Promise((resolve, reject) => {
    const stream = session.request({ ":path": "/", ":authority": name });
    let status;
    stream.on("response", (headers) => { status = headers[":status"]; });
    stream.on("data", () => {});
    // The end may be told before the answer's head, but nothing is told after this.
    stream.on("close", () => (status === 200 ? resolve() : reject(new Error(`${status}, ${stream.rstCode}`))));
    stream.on("error", reject);
    stream.end();
  });
  return { ask, end: () => session.destroy() };
}

async function run(ask, count) {
  let left = count;
  await Promise.all(Array.from({ length: +atOnce }, async () => {
    while (left-- > 0) await ask();
  }));
}

const { ask, end } = asks[protocol]();
await run(ask, 300); // connections, and what the program compiles at first
const begin = process.hrtime.bigint();
await run(ask, +counted);
console.log(Number(process.hrtime.bigint() - begin) / 1e9);
end();
