// A VNC client for test.sh: node - PASSWORD [input]
// Prints 'refused', or what the server says of its screen: 'WIDTHxHEIGHT NAME'. With 'input' it
// then moves the pointer, clicks, types and copies, and adds what it sees: 'seen N', bytes of pixels.
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

const words = (type, ...fields) => Buffer.concat([Buffer.from([type]), ...fields]);
const u16 = (...numbers) => Buffer.concat(numbers.map(number => Buffer.from([number >> 8, number & 255])));
const u32 = (...numbers) => Buffer.concat(numbers.map(number => u16(number >>> 16, number & 0xffff)));
const sleep = ms => new Promise(done => setTimeout(done, ms));

async function input(socket) {
  const pointer = (x, y, buttons) => words(5, Buffer.from([buttons]), u16(x, y));
  const key = (sym, down) => words(4, Buffer.from([down, 0, 0]), u32(sym));
  const text = Buffer.from('copied-by-the-client');
  const all = [pointer(100, 100, 0), pointer(321, 234, 0), pointer(321, 234, 1), pointer(321, 234, 0),
    key(0x61, 1), key(0x61, 0), words(6, Buffer.alloc(3), u32(text.length), text)];
  for (const message of all) {
    socket.write(message);
    await sleep(150);
  }
}

async function main(password, task) {
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
  const screen = `${init.readUInt16BE(0)}x${init.readUInt16BE(2)} ${name}`;
  if (task !== 'input') return screen;
  await input(socket);
  // Raw pixels of a corner.
  socket.write(words(2, Buffer.alloc(1), u16(1), u32(0)));
  socket.write(words(3, Buffer.from([0]), u16(0, 0, 64, 64)));
  // The server may have told of its own clipboard before.
  if ((await read(1))[0] !== 0) throw new Error('not an update');
  const rectangle = (await read(3 + 12)).subarray(3);
  return `${screen} seen ${(await read(rectangle.readUInt16BE(4) * rectangle.readUInt16BE(6) * 4)).length}`;
}

main(...process.argv.slice(2)).then(result => { console.log(result); process.exit(); });
