// An MCP client of one run, for test.sh: node - BASE_URL HOST_HEADER [PAGE [SECONDS]]
// Prints the status of initialize; with PAGE it opens that page in the browser and
// prints the tool's answer, too. With SECONDS it listens as clients do, answers no ping, has the server wait that long,
// and prints whether it was pinged.
const http = require('http');
const [base, host, page, seconds] = process.argv.slice(2);

let heard = '';

function post(message, session) {
  const body = JSON.stringify({ jsonrpc: '2.0', ...message });
  const headers = { host, 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  if (session) headers['mcp-session-id'] = session;
  return new Promise((resolve, reject) => {
    const request = http.request(`${base}/mcp`, { method: 'POST', headers }, response => {
      let text = '';
      response.on('data', chunk => { text += chunk; });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

function listen(session) {
  const headers = { host, accept: 'text/event-stream', 'mcp-session-id': session };
  http.get(`${base}/mcp`, { headers }, response => response.on('data', chunk => { heard += chunk; }));
}

(async () => {
  const clientInfo = { name: 'image-test', version: '1' };
  const first = await post({ id: 1, method: 'initialize', params: { protocolVersion: '2025-03-26', capabilities: {}, clientInfo } });
  console.log(first.status, first.status === 200 ? '' : first.text);
  if (first.status !== 200 || !page) return;
  const session = first.headers['mcp-session-id'];
  await post({ method: 'notifications/initialized' }, session);
  if (seconds) listen(session);
  const call = await post({ id: 2, method: 'tools/call', params: { name: 'browser_navigate', arguments: { url: page } } }, session);
  console.log(call.text);
  if (!seconds) return;
  const wait = { name: 'browser_wait_for', arguments: { time: Number(seconds) } };
  console.log((await post({ id: 3, method: 'tools/call', params: wait }, session)).text);
  console.log(heard.includes('"ping"') ? 'pinged' : 'not pinged');
  process.exit();
})();
