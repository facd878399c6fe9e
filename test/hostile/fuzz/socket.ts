import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import type { ChatSocket } from '../../support/chat-socket.ts'
import type { System } from '../../support/system.ts'
import { inParallel, Report } from '../report.ts'
import { binaryFrame, textFrame } from './frames.ts'
import { faultOf, idOf, miscounted, Tally } from './oracle.ts'

/** A room grows by every message, and every join replays it. */
const FRAMES_PER_ROOM = 2_000
const FRAMES_PER_BATCH = 100
const SOCKETS = 8
/** Longer than the edge itself waits for an answer of the log. */
const REPLIED_WITHIN_MS = 25_000

/** Limits that are not what is tried here. */
export const fuzzEnv: Readonly<Record<string, string>> = {
  EDGE_MALFORMED_MAX: '1000000000',
  EDGE_REFUSALS_MAX: '1000000000',
  EDGE_QUEUED_PER_SOCKET_MAX: '1000',
  EDGE_REQUESTS_PER_SECOND_CONNECTION: '1000000',
  EDGE_REQUESTS_PER_SECOND_USER: '1000000',
  ROOM_MESSAGES_PER_SECOND_MAX: '1000000',
}

type Frame = string | Buffer

const frame: fc.Arbitrary<Frame> = fc.oneof({ weight: 40, arbitrary: textFrame as fc.Arbitrary<Frame> }, { weight: 1, arbitrary: binaryFrame.map((bytes) => Buffer.from(bytes)) })

/** So many frames through real sockets of a real edge. */
export async function fuzzSockets(system: System, count: number, seed: number, note: (text: string) => void): Promise<Report> {
  const report = new Report('fuzz')
  const tally = new Tally()
  const rooms = Math.max(1, Math.ceil(count / FRAMES_PER_ROOM))
  const perRoom = Math.ceil(count / rooms)
  const startedMs = performance.now()
  let sent = 0
  const wrong = await inParallel(Array.from({ length: rooms }, (_, i) => i), SOCKETS, async (n) => {
    const orderId = `fuzz-${seed}-${n}`
    const faults = await fuzzRoom(system, orderId, perRoom, seed + n, tally)
    sent += perRoom
    note(`${sent.toLocaleString('en')} frames`)
    return faults
  })
  const seconds = (performance.now() - startedMs) / 1_000
  report.none('frames through sockets of a real edge: a coded reply for each id, exactly one', wrong.flat(), `${sent} frames, ${Math.round(sent / seconds)} a second, seed ${seed}`)
  report.none('the processes live and have logged no error', troublesOf(system), [...system.processes.keys()].join(', '))
  report.figures['framesBySocket'] = sent
  report.figures['repliesBySocket'] = tally.byKind
  return report
}

async function fuzzRoom(system: System, orderId: string, count: number, seed: number, tally: Tally): Promise<string[]> {
  const userId = `customer-of-${orderId}`
  await system.openRoom(orderId, userId, `vendor-of-${orderId}`)
  const socket = await system.connect(1, { userId, orderId, until: 'open' })
  await socket.waitForType('caughtUp')
  const frames = fc.sample(frame, { numRuns: count, seed }).map((one) => (typeof one === 'string' ? Buffer.from(one.replaceAll('order-1', orderId)).toString() : one))
  const faults: string[] = []
  for (let at = 0; at < frames.length && faults.length === 0; at += FRAMES_PER_BATCH) {
    faults.push(...(await batchFaults(socket, frames.slice(at, at + FRAMES_PER_BATCH), `end-${at}`, tally)))
  }
  socket.close()
  return faults.map((fault) => `seed ${seed}, ${orderId}: ${fault}`)
}

async function batchFaults(socket: ChatSocket, batch: readonly Frame[], marker: string, tally: Tally): Promise<string[]> {
  const { roomId, lastSeq } = cursorOf(socket)
  socket.frames.length = 0
  // An earlier frame may have left the room: from outside it most frames are refused alike.
  socket.sendRaw(JSON.stringify({ type: 'join', roomId, since: lastSeq }))
  for (const one of batch) socket.sendRaw(one)
  const ids = batch.map((one) => (typeof one === 'string' ? idOf(one) : undefined))
  const replies = () => socket.frames.filter((frame) => Object.hasOwn(frame, 'id') && frame['id'] !== marker)
  const deadlineMs = performance.now() + REPLIED_WITHIN_MS
  while (miscounted(ids, replies()).length > 0 && !socket.closed && performance.now() < deadlineMs) await pause(2)
  if (!socket.closed) {
    // Whatever was to come too much has come by then.
    socket.sendRaw(JSON.stringify({ id: marker, type: 'ping' }))
    while (!socket.frames.some(({ id }) => id === marker) && !socket.closed && performance.now() < deadlineMs) await pause(2)
  }
  for (const reply of replies()) tally.count(reply)
  const unreadable = batch.filter((one) => typeof one !== 'string' || !isObject(one)).length
  const withoutId = socket.frames.filter((frame) => frame.type === 'error' && !Object.hasOwn(frame, 'id'))
  return [
    ...(socket.closed ? [`closed with ${socket.closed.code} ${socket.closed.reason}`] : []),
    ...[...replies(), ...withoutId].flatMap((reply) => faultOf(reply) ?? []),
    ...miscounted(ids, replies()),
    ...(withoutId.length < unreadable ? [`${unreadable} frames cannot be read, ${withoutId.length} errors say so`] : []),
  ]
}

/** The room that was joined first, and how far it was seen, so that joining it again replays little. */
function cursorOf(socket: ChatSocket): { roomId: string; lastSeq: number } {
  const roomId = socket.frames.find(({ type }) => type === 'joined')?.['roomId'] as string
  const seqs = socket.frames.filter((frame) => frame['roomId'] === roomId).map((frame) => Number(frame['seq'] ?? frame['headSeq'] ?? 0))
  return { roomId, lastSeq: Math.max(0, ...seqs) }
}

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

/** Processes that ended, and lines of their logs that say that something is wrong. */
export function troublesOf(system: System): string[] {
  return [...system.processes.values()].flatMap((process) => {
    const lines = process.log().split('\n').filter((line) => /"level":"(error|fatal)"|UnhandledPromiseRejection|^\s+at .*\(/.test(line))
    return [...(process.isRunning ? [] : [`${process.id} has ended`]), ...lines.slice(0, 3).map((line) => `${process.id}: ${line.slice(0, 300)}`)]
  })
}
