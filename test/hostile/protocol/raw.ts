import { setTimeout as pause } from 'node:timers/promises'
import { RawWebSocket } from '../raw-ws.ts'
import { inParallel, Report } from '../report.ts'
import { type Echo, startEchoServers } from './echo-servers.ts'
import { type RawCase, rawCases } from './raw-cases.ts'

/** A case that is not ended by then is one that waits for more. */
const ENDED_WITHIN_MS = 1_000

/** What came back: frames, and how it ended. */
async function transcriptOf({ port }: Echo, { pieces }: RawCase): Promise<string> {
  const client = await RawWebSocket.open(port, '/ws/chat')
  // Else what is written byte by byte arrives in one piece.
  client.socket.setNoDelay(true)
  for (const piece of pieces) {
    client.send(piece)
    if (pieces.length > 1) await pause(1)
  }
  const deadlineMs = performance.now() + ENDED_WITHIN_MS
  while (!client.ended && performance.now() < deadlineMs) await pause(5)
  const frames = client.frames.map(({ opcode, fin, rsv, payload }) => `${opcode}${fin ? '' : ' unfinished'}${rsv ? ` rsv ${rsv}` : ''} ${payload.length > 40 ? `${payload.length} bytes` : payload.toString('hex')}`)
  client.destroy()
  return [...frames, client.ended ? `ended, ${client.closeCode}` : 'open'].join(' | ')
}

/** Frame by frame the edge must do what bare uWebSockets.js does, down to the close codes. Needs nothing but Node. */
export async function runRawCases(): Promise<Report> {
  const report = new Report('autobahn')
  const servers = await startEchoServers()
  const [edge, bare] = ['edge', 'bare'].map((name) => servers.find((server) => server.name === name)!) as [Echo, Echo]
  try {
    const outcomes = await inParallel(rawCases, 8, async (one) => ({ case: one.name, ours: await transcriptOf(edge, one), bare: await transcriptOf(bare, one) }))
    report.none('raw frames: the same as bare uWebSockets.js', outcomes.filter(({ ours, bare }) => ours !== bare).map((one) => `${one.case}: ${one.ours}, bare ${one.bare}`), `${outcomes.length} cases`)
    report.none('raw frames: both servers live', servers.filter(({ isAlive }) => !isAlive).map(({ name }) => name), `${servers.length} servers`)
    report.figures['rawCases'] = outcomes
  } finally {
    for (const server of servers) server.stop()
  }
  return report
}
