import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { kafkaFrames, portRewriter } from './kafka-frames.ts'
import { type ProxyOptions, TcpProxy } from './tcp-proxy.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** Answers each chunk with `<name>:` before it; keeps what it got, also of clients that have gone. */
async function echoServer(name = 'echo'): Promise<{ port: number; got: string[]; close(): void }> {
  const got: string[] = []
  const server = net.createServer((socket) => {
    socket.on('data', (data) => {
      got.push(data.toString())
      socket.write(`${name}:${data.toString()}`)
    })
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => server.close())
  return { port: (server.address() as net.AddressInfo).port, got, close: () => server.close() }
}

async function proxyTo(targets: readonly number[], options: Partial<ProxyOptions> = {}): Promise<TcpProxy> {
  const proxy = await TcpProxy.listen({ targets, ...options })
  closers.push(() => proxy.close())
  return proxy
}

function connect(port: number): { socket: net.Socket; got: string[]; isClosed: () => boolean } {
  const socket = net.connect(port, '127.0.0.1')
  const got: string[] = []
  let closed = false
  socket.on('data', (data) => got.push(data.toString())).on('close', () => { closed = true }).on('error', () => {})
  closers.push(() => socket.destroy())
  return { socket, got, isClosed: () => closed }
}

test('passes both directions and the end', async () => {
  const server = await echoServer()
  const { socket, got, isClosed } = connect((await proxyTo([server.port])).port)
  socket.end('hi')
  await vi.waitFor(() => expect(isClosed()).toBe(true))
  expect(got).toEqual(['echo:hi'])
})

test('a stalled answer comes at the release, in order; requests pass meanwhile', async () => {
  const server = await echoServer()
  const proxy = await proxyTo([server.port])
  const { socket, got } = connect(proxy.port)
  const stall = proxy.stall({ direction: 'down' })
  socket.write('a')
  await vi.waitFor(() => expect(server.got).toEqual(['a']))
  socket.write('b')
  await vi.waitFor(() => expect(server.got).toEqual(['a', 'b']))
  await vi.waitFor(() => expect(stall.held).toBe(1))
  expect(got).toEqual([])
  stall.release()
  await vi.waitFor(() => expect(got.join('')).toBe('echo:aecho:b'))
})

test('what a client sent before it hung up or was reset arrives at the release', async () => {
  const server = await echoServer()
  const proxy = await proxyTo([server.port])
  const stall = proxy.stall({ direction: 'up' })
  const [ending, resetting] = [connect(proxy.port), connect(proxy.port)]
  ending.socket.end('late 1')
  resetting.socket.write('late 2')
  await vi.waitFor(() => expect(stall.held).toBe(2))
  resetting.socket.resetAndDestroy()
  await pause(50)
  expect(server.got).toEqual([])
  stall.release()
  await vi.waitFor(() => expect(server.got.toSorted()).toEqual(['late 1', 'late 2']))
})

test('stalls only from the piece that matches, and only as many connections as it is told', async () => {
  const server = await echoServer()
  const proxy = await proxyTo([server.port])
  const [first, second] = [connect(proxy.port), connect(proxy.port)]
  const stall = proxy.stall({ direction: 'up', matches: (piece) => piece.includes('produce'), connectionsMax: 1 })
  first.socket.write('heartbeat')
  await vi.waitFor(() => expect(server.got).toEqual(['heartbeat']))
  first.socket.write('produce 1')
  await vi.waitFor(() => expect(stall.held).toBe(1))
  first.socket.write('behind')
  second.socket.write('produce 2')
  await vi.waitFor(() => expect(second.got).toEqual(['echo:produce 2']))
  expect(server.got).toEqual(['heartbeat', 'produce 2'])
  stall.release()
  await vi.waitFor(() => expect(server.got.join(' ')).toContain('produce 1'))
  await vi.waitFor(() => expect(server.got.join(' ')).toContain('behind'))
})

test('holds no more, but what it holds', async () => {
  const server = await echoServer()
  const proxy = await proxyTo([server.port])
  const [first, second] = [connect(proxy.port), connect(proxy.port)]
  const stall = proxy.stall({ direction: 'up' })
  first.socket.write('first')
  await vi.waitFor(() => expect(stall.held).toBe(1))
  stall.holdNoMore()
  second.socket.write('second')
  await vi.waitFor(() => expect(second.got).toEqual(['echo:second']))
  expect(server.got).toEqual(['second'])
  stall.release()
  await vi.waitFor(() => expect(first.got).toEqual(['echo:first']))
})

test('cuts, refuses and takes again', async () => {
  const server = await echoServer()
  const proxy = await proxyTo([server.port])
  const before = connect(proxy.port)
  before.socket.write('x')
  await vi.waitFor(() => expect(before.got).toEqual(['echo:x']))
  proxy.cut()
  await vi.waitFor(() => expect(before.isClosed()).toBe(true))
  proxy.refuse(true)
  const refused = connect(proxy.port)
  await vi.waitFor(() => expect(refused.isClosed()).toBe(true))
  proxy.refuse(false)
  const after = connect(proxy.port)
  after.socket.write('y')
  await vi.waitFor(() => expect(after.got).toEqual(['echo:y']))
  expect(proxy.connections).toBe(1)
})

test('delays and slows', async () => {
  const server = await echoServer()
  const proxy = await proxyTo([server.port])
  const { socket, got } = connect(proxy.port)
  const roundTripMs = async (text: string): Promise<number> => {
    const [startedMs, before] = [Date.now(), got.length]
    socket.write(text)
    await vi.waitFor(() => expect(got.length).toBeGreaterThan(before), { interval: 5 })
    return Date.now() - startedMs
  }
  proxy.shape({ delayMs: 60 })
  expect(await roundTripMs('x')).toBeGreaterThanOrEqual(115)
  proxy.shape({ bytesPerSecond: 1_000 })
  expect(await roundTripMs('y'.repeat(100))).toBeGreaterThanOrEqual(190)
})

test('goes round its targets and passes over one that is down', async () => {
  const [a, b, dead] = [await echoServer('a'), await echoServer('b'), await echoServer()]
  dead.close()
  const proxy = await proxyTo([a.port, dead.port, b.port])
  const answers: string[] = []
  for (let i = 0; i < 4; i++) {
    const { socket, got } = connect(proxy.port)
    socket.write('?')
    await vi.waitFor(() => expect(got.length).toBe(1))
    answers.push(got[0]!)
  }
  expect(answers).toEqual(['a:?', 'b:?', 'a:?', 'b:?'])
})

test("Kafka's frames come out whole, with the brokers' ports replaced", () => {
  const body = Buffer.concat([Buffer.from([0, 9]), Buffer.from('127.0.0.1'), Buffer.from([0, 0, 0x4a, 0x94]), Buffer.from([7])])
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length)
  const stream = Buffer.concat([length, body, length, body])
  const split = kafkaFrames(portRewriter(new Map([[0x4a94, 1_234]])))
  const frames = [stream.subarray(0, 3), stream.subarray(3, 25), stream.subarray(25)].flatMap((chunk) => split(chunk))
  expect(frames.length).toBe(2)
  expect(frames.map((frame) => [frame.readInt32BE(15), frame.at(-1)])).toEqual([[1_234, 7], [1_234, 7]])
  expect(stream.readInt32BE(15), 'the original').toBe(0x4a94)
})
