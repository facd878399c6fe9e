import fc from 'fast-check'
import { ChatError } from '#libs/domain/errors.ts'
import type { Connection } from '../../../services/edge/core/connection.ts'
import { MemoryEdge, MemorySocket, room, user } from '../../../services/edge/core/memory-edge.ts'
import { Sessions } from '../../../services/edge/core/sessions.ts'
import { Report } from '../report.ts'
import { textFrame } from './frames.ts'
import { faultOf, idOf, miscounted, Tally } from './oracle.ts'

const FRAMES_PER_SOCKET_MAX = 40
/** Virtual time: each turn of 50 ms reads the log and answers what is in it. */
const TURNS_MAX = 500

/** The edge's own rules (parser, sessions, commands, rooms) on a log and a history in memory, with limits that no frame reaches. */
class FuzzedEdge {
  readonly edge = new MemoryEdge()
  readonly strange: unknown[] = []
  readonly socket = new MemorySocket()
  readonly connection: Connection
  readonly #sessions: Sessions
  #ids = 0

  constructor(inRoom: boolean) {
    const { edge } = this
    for (const id of ['order-1', 'order-2']) edge.accepted(id)
    this.#sessions = new Sessions({
      rooms: edge.rooms,
      commands: edge.commands,
      verify: async (token) => {
        if (token !== 'good') throw new ChatError('token_invalid')
        return this.connection.speaker
      },
      consume: async () => {},
      // What it would do is not the frames' business here; through the sockets the real one is asked.
      realtime: { handle: (connection, { id }) => void (id !== undefined && connection.send({ id, type: 'ack' })), joined: () => {}, left: () => {}, opened: () => {}, closed: () => {} },
      onOpened: () => {},
      onClosed: () => {},
      onError: (err) => this.strange.push(err),
      newId: () => `fuzz-${this.#ids++}`,
      nowMs: () => edge.time.nowMs(),
      random: () => 1,
      limits: { requestTimeoutMs: 3_600_000, heartbeatMs: 3_600_000, frameBytesMax: 65_536, queuedPerSocketMax: 20, malformedMax: 1e9, refusalsMax: 1e9 },
    })
    const speaker = { userId: user('customer'), role: 'user' as const, expiresAtMs: Number.MAX_SAFE_INTEGER }
    this.connection = this.#sessions.open('fuzz', this.socket, speaker, inRoom ? { roomId: room('order-1'), since: 0 } : undefined)
  }

  receive(text: string): void {
    this.#sessions.receive(this.connection, text)
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      this.edge.feed()
      await this.edge.time.advance(50)
      this.edge.answer()
      if (this.connection.queued + this.connection.pending === 0 && turn > 1) return
    }
  }
}

/** What is wrong with one socket's life, or nothing. Counts the replies by their kind. */
async function faultsOf(frames: readonly string[], inRoom: boolean, tally: Tally): Promise<string[]> {
  const fuzzed = new FuzzedEdge(inRoom)
  await fuzzed.settle()
  // Not to be taken for a reply.
  fuzzed.socket.frames.length = 0
  for (const frame of frames) fuzzed.receive(frame)
  await fuzzed.settle()
  const told = fuzzed.socket.frames as Record<string, unknown>[]
  const replies = told.filter((frame) => Object.hasOwn(frame, 'id'))
  for (const reply of replies) tally.count(reply)
  const faults = told.filter((frame) => Object.hasOwn(frame, 'id') || frame['type'] === 'error').flatMap((frame) => faultOf(frame) ?? [])
  if (fuzzed.strange.length > 0) faults.push(`an error without a code: ${String(fuzzed.strange[0])}`)
  if (fuzzed.edge.corrupt.length > 0) faults.push(`the log is taken for corrupt: ${String(fuzzed.edge.corrupt[0])}`)
  if (fuzzed.socket.closedWith) faults.push(`closed with ${fuzzed.socket.closedWith}`)
  return [...faults, ...miscounted(frames.map(idOf), replies)]
}

/** So many frames straight into the edge's rules, without a network: what is found is shrunk to the fewest and shortest. */
export async function fuzzDirectly(count: number, seed: number, note: (text: string) => void): Promise<Report> {
  const report = new Report('fuzz')
  const rejections: unknown[] = []
  const onRejection = (err: unknown) => rejections.push(err)
  process.on('unhandledRejection', onRejection)
  const startedMs = performance.now()
  let frames = 0
  let fault: string | undefined
  const tally = new Tally()
  try {
    for (let round = 0; frames < count && fault === undefined; round++) {
      const property = fc.asyncProperty(fc.array(textFrame, { minLength: 1, maxLength: FRAMES_PER_SOCKET_MAX, size: 'max' }), fc.boolean(), async (texts, inRoom) => {
        frames += texts.length
        const faults = await faultsOf(texts, inRoom, tally)
        if (faults.length > 0) throw new Error(faults.slice(0, 3).join('; '))
      })
      const found = await fc.check(property, { seed: seed + round, numRuns: 500, endOnFailure: false })
      if (found.failed) fault = `seed ${found.seed}: ${JSON.stringify(found.counterexample?.[0]).slice(0, 500)} gives ${String(found.errorInstance)}`
      note(`${frames.toLocaleString('en')} frames`)
    }
  } finally {
    process.off('unhandledRejection', onRejection)
  }
  const seconds = (performance.now() - startedMs) / 1_000
  report.check('frames into the parser and the sessions: a coded reply for each id, exactly one', fault === undefined, fault ?? `${frames} frames, ${Math.round(frames / seconds)} a second, seed ${seed}`)
  report.none('no promise was left to fail alone', rejections.map(String), `${rejections.length} of them`)
  report.figures['framesDirect'] = frames
  report.figures['repliesDirect'] = tally.byKind
  return report
}
