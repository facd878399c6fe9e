import { expect, test } from 'vitest'
import { startEchoingEdge } from '../protocol/echoing-edge.ts'
import { frameOf, opcodes, RawWebSocket } from '../raw-ws.ts'

const SLOW_BYTES = 256 * 1024
const ANSWER = 'x'.repeat(10_000)

test('who asks and never reads is closed as slow, and no answer before the close is left out', { timeout: 60_000 }, async () => {
  const edge = await startEchoingEdge({ slowBufferBytes: SLOW_BYTES, answer: () => ANSWER })
  try {
    const client = await RawWebSocket.open(edge.port, '/ws/chat')
    client.stall()
    for (let i = 0; i < 200 && edge.closings.length === 0; i++) {
      client.send(...Array.from({ length: 100 }, () => frameOf(opcodes.text, '{"id":1,"type":"ping"}')))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    expect(edge.closings).toEqual(['slow_consumer'])
    expect(edge.bufferedMax).toBeLessThanOrEqual(SLOW_BYTES + 2 * ANSWER.length)
    client.socket.resume()
    await expect.poll(() => client.closeCode, { timeout: 20_000 }).toBe(4001)
    expect(client.frames.filter(({ opcode }) => opcode === opcodes.text)).toHaveLength(edge.sent)
  } finally {
    edge.close()
  }
})
