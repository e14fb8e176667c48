// A VNC client up to the server's greeting, for test.sh: node - PASSWORD
// Prints 'refused', or what the server says of its screen: 'WIDTHxHEIGHT NAME'.
const net = require('net');
const crypto = require('crypto');

// RFB's challenge: DES, the password's bytes (8 at most) with their bits reversed as
// the key. Triple DES with three equal keys is DES, which OpenSSL 3 no longer offers.
function answer(challenge, password) {
  const key = Buffer.alloc(8);
  Buffer.from(password).copy(key, 0, 0, 8);
  const reversed = key.map(byte => [...Array(8).keys()].reduce((sum, bit) => sum | ((byte >> bit & 1) << (7 - bit)), 0));
  const cipher = crypto.createCipheriv('des-ede3-ecb', Buffer.concat([reversed, reversed, reversed]), null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}

async function* bytes(socket) {
  for await (const chunk of socket) yield* chunk;
}

async function main(password) {
  const socket = net.connect(5900, '127.0.0.1');
  const stream = bytes(socket);
  const read = async count => {
    const out = [];
    while (out.length < count) out.push((await stream.next()).value);
    return Buffer.from(out);
  };
  await read(12);
  socket.write('RFB 003.008\n');
  const types = [...await read((await read(1))[0])];
  if (types.length !== 1 || types[0] !== 2) throw new Error(`security types ${types}, not VNC authentication alone`);
  socket.write(Buffer.from([2]));
  socket.write(answer(await read(16), password));
  if ((await read(4)).readUInt32BE() !== 0) return 'refused';
  socket.write(Buffer.from([1]));
  const init = await read(24);
  const name = await read(init.readUInt32BE(20));
  return `${init.readUInt16BE(0)}x${init.readUInt16BE(2)} ${name}`;
}

main(process.argv[2]).then(result => { console.log(result); process.exit(); });
