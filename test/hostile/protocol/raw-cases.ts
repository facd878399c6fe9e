import { frameOf, opcodes } from '../raw-ws.ts'

const { continuation, text, binary, close, ping, pong } = opcodes

/** What is written, piece by piece. */
export type RawCase = { readonly name: string; readonly pieces: readonly Buffer[] }

const one = (name: string, ...frames: readonly Buffer[]): RawCase => ({ name, pieces: [Buffer.concat(frames)] })
const byte = (...frames: readonly Buffer[]): Buffer[] => [...Buffer.concat(frames)].map((octet) => Buffer.from([octet]))
const closeOf = (code: number, reason: Buffer | string = '') => {
  const head = Buffer.alloc(2)
  head.writeUInt16BE(code)
  return frameOf(close, Buffer.concat([head, Buffer.from(reason)]))
}
const end = closeOf(1000)
const hello = frameOf(text, 'hello')
const sizes = [0, 1, 125, 126, 127, 128, 65_535, 65_536]
const badUtf8: Readonly<Record<string, readonly number[]>> = {
  'a lone continuation byte': [0x80],
  'a cut two-byte character': [0xc3],
  'a cut four-byte character': [0xf0, 0x9f, 0x98],
  'an overlong slash': [0xc0, 0xaf],
  'an overlong NUL in three bytes': [0xe0, 0x80, 0x80],
  'a surrogate': [0xed, 0xa0, 0x80],
  'a code point above U+10FFFF': [0xf4, 0x90, 0x80, 0x80],
  'a byte of no use': [0xff],
}
const goodUtf8 = ['κόσμε', '\u0000', '\u007f\u0080\u07ff\u0800', '\uffff', '\u{10000}\u{10ffff}', '\ufeff']

/** The ground of Autobahn's groups 1 to 7, 9 and 10, for machines without it. */
export const rawCases: readonly RawCase[] = [
  // 1: framing
  ...sizes.flatMap((size) => [one(`text of ${size} bytes`, frameOf(text, 'x'.repeat(size)), end), one(`binary of ${size} bytes`, frameOf(binary, Buffer.alloc(size, 7)), end)]),
  { name: 'text, byte by byte', pieces: byte(hello, end) },
  one('a length in more bytes than needed', Buffer.from([0x81, 0xfe, 0, 1, 0, 0, 0, 0, 0x61]), end),
  // 2: pings and pongs
  ...[0, 1, 125].map((size) => one(`ping of ${size} bytes`, frameOf(ping, 'p'.repeat(size)), end)),
  one('ping of 126 bytes', frameOf(ping, 'p'.repeat(126)), end),
  one('a pong that nobody asked for', frameOf(pong, 'x'), hello, end),
  one('ten pings at once', ...Array.from({ length: 10 }, (_, i) => frameOf(ping, `${i}`)), end),
  { name: 'a ping, byte by byte', pieces: byte(frameOf(ping, 'abc'), end) },
  // 3: reserved bits
  ...[1, 2, 3, 4, 5, 6, 7].map((rsv) => one(`reserved bits ${rsv} on a text`, frameOf(text, 'x', { rsv }), end)),
  one('reserved bits on a ping', frameOf(ping, 'x', { rsv: 4 }), end),
  one('reserved bits on a close', frameOf(close, '', { rsv: 4 })),
  // 4: opcodes
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => one(`opcode ${opcode}`, hello, frameOf(opcode, 'x'), end)),
  // 5: fragments
  one('a text of two frames', frameOf(text, 'a', { fin: false }), frameOf(continuation, 'b'), end),
  one('a text of three frames, pings between', frameOf(text, 'a', { fin: false }), frameOf(ping, '1'), frameOf(continuation, 'b', { fin: false }), frameOf(ping, '2'), frameOf(continuation, 'c'), end),
  one('a binary of two frames', frameOf(binary, 'a', { fin: false }), frameOf(continuation, 'b'), end),
  one('empty fragments', frameOf(text, '', { fin: false }), frameOf(continuation, '', { fin: false }), frameOf(continuation, ''), end),
  { name: 'fragments, byte by byte', pieces: byte(frameOf(text, 'ab', { fin: false }), frameOf(continuation, 'cd'), end) },
  one('a continuation of nothing', frameOf(continuation, 'x'), end),
  one('a text within a text', frameOf(text, 'a', { fin: false }), frameOf(text, 'b'), end),
  one('a binary within a text', frameOf(text, 'a', { fin: false }), frameOf(binary, 'b'), end),
  one('a ping in fragments', frameOf(ping, 'a', { fin: false }), frameOf(continuation, 'b'), end),
  one('a close in fragments', frameOf(close, '', { fin: false }), end),
  one('a close within a text', frameOf(text, 'a', { fin: false }), end),
  one('1,000 fragments', frameOf(text, 'a', { fin: false }), ...Array.from({ length: 999 }, () => frameOf(continuation, 'b', { fin: false })), frameOf(continuation, 'c'), end),
  // 6: UTF-8
  ...goodUtf8.map((good) => one(`good UTF-8: ${JSON.stringify(good)}`, frameOf(text, good), end)),
  ...Object.entries(badUtf8).flatMap(([name, bytes]) => [one(`bad UTF-8: ${name}`, frameOf(text, Buffer.from([0x61, ...bytes, 0x62])), end), one(`bad UTF-8 at the end: ${name}`, frameOf(text, Buffer.from(bytes)), end)]),
  one('a character over two fragments', frameOf(text, Buffer.from([0xce]), { fin: false }), frameOf(continuation, Buffer.from([0xba])), end),
  // 7: closing
  one('close without a code', frameOf(close)),
  one('close with half a code', frameOf(close, Buffer.from([3]))),
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999].map((code) => one(`close with ${code}`, closeOf(code))),
  ...[0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535].map((code) => one(`close with ${code}, which nobody may send`, closeOf(code))),
  one('close with a reason of 123 bytes', closeOf(1000, 'r'.repeat(123))),
  one('close with a reason of 124 bytes', closeOf(1000, 'r'.repeat(124))),
  one('close with a reason that is no UTF-8', closeOf(1000, Buffer.from([0xff]))),
  one('two closes', end, end),
  one('a text behind the close', end, hello),
  one('a ping behind the close', end, frameOf(ping, 'x')),
  // 9: limits
  one('above the largest payload', frameOf(text, 'x'.repeat(128 * 1024 + 1)), end),
  one('above it in fragments', ...Array.from({ length: 5 }, (_, i) => frameOf(i === 0 ? text : continuation, 'x'.repeat(30_000), { fin: i === 4 })), end),
  one('a header that promises 2^63 bytes', Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])),
  one('a header that promises 4 GiB', frameOf(text, 'x', { toldLength: 2 ** 32 })),
  // 10: other
  one('not masked', frameOf(text, 'x', { masked: false }), end),
  one('no WebSocket at all', Buffer.from('GET / HTTP/1.1\r\n\r\n')),
  one('noise', Buffer.from(Array.from({ length: 2_000 }, (_, i) => (i * 7_919) % 251))),
]
