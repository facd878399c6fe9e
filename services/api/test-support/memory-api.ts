import type { FastifyInstance } from 'fastify'
import type { Identity, TokenVerifier } from '#libs/auth/verifier.ts'
import { decide } from '#libs/domain/decide.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { evolve } from '#libs/domain/evolve.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import type { RoomState } from '#libs/domain/room.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { createLocalRateLimiter } from '#libs/redis/rate-limit.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { createRegistry } from '#libs/runtime/metrics.ts'
import type { Presigner } from '#libs/s3/presigner.ts'
import { commandFromAvro, commandToAvro } from '#libs/streams/avro-shapes.ts'
import { createApp } from '../app.ts'
import { Commands, type CommandsOptions } from '../commands.ts'
import { HeadWatch } from '../head-watch.ts'
import { InFlight } from '../in-flight.ts'
import { createMetrics } from '../metrics.ts'

export type MemoryApiOptions = {
  readonly commands?: Partial<CommandsOptions>
  readonly perSecondUser?: number
  readonly files?: Presigner
}

/** The HTTP side over the rules themselves: what is written is decided at once, and of Postgres there are only the rooms. */
export class MemoryApi {
  readonly rooms = new Map<RoomId, RoomState>()
  readonly published: RoomCommand[] = []
  readonly app: FastifyInstance
  readonly commands: Commands

  private constructor(app: FastifyInstance, commands: Commands) {
    this.app = app
    this.commands = commands
  }

  static async start(options: MemoryApiOptions = {}): Promise<MemoryApi> {
    const commands = new Commands({
      publish: async (command) => api.#decide(command),
      isListening: () => true,
      pendingMax: 10,
      answerTimeoutMs: 5_000,
      onOutcome: () => {},
      ...options.commands,
    })
    const logger = createLogger('test', 'test', 'silent')
    const waiters = { max: 10, perUserMax: 10, tickMs: 50 }
    const app = await createApp({
      config: { allowedOrigins: ['https://shop.example'], devKeyFile: undefined, room: defaultRoomLimits },
      logger,
      metrics: createMetrics(createRegistry('test'), { waiters: () => 0, connections: () => ({ total: 0, idle: 0, waiting: 0 }), pending: () => 0, isListening: () => true }),
      db: { query: async (text, values) => api.#rowsOf(text, values) } as Queryable,
      // `name` or `name.role`
      tokens: { verify: async (token) => identityOf(token) } as TokenVerifier,
      heads: new HeadWatch(waiters, async () => [], logger),
      commands,
      writers: createLocalRateLimiter({ points: options.perSecondUser ?? 1_000, durationS: 1 }),
      files: options.files,
      inFlight: new InFlight(),
      isStopping: () => false,
    })
    const api: MemoryApi = new MemoryApi(app, commands)
    return api
  }

  async request(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', url: string, user: string | undefined, body?: unknown) {
    const headers = user === undefined ? {} : { authorization: `Bearer ${user}` }
    const answer = await this.app.inject({ method, url, headers, ...(body !== undefined && { payload: body as object }) })
    return { status: answer.statusCode, body: answer.json() as any, headers: answer.headers }
  }

  async close(): Promise<void> {
    this.commands.stop()
    await this.app.close()
  }

  #decide(given: RoomCommand): void {
    // What does not pass through Avro does not get to room-state.
    const command = commandFromAvro(commandToAvro(given))
    this.published.push(command)
    const before = this.rooms.get(command.roomId)
    const entries = decide(before, command, Date.now(), defaultRoomLimits)
    const after = entries.reduce<RoomState | undefined>((state, entry) => evolve(state, command.roomId, entry), before)
    if (after) this.rooms.set(command.roomId, after)
    setImmediate(() => this.commands.onReply({ roomId: command.roomId, commandId: command.commandId, entries }))
  }

  #rowsOf(text: string, values: readonly unknown[] = []): { rows: unknown[]; rowCount: number } {
    const room = text.includes('FROM chat_rooms r WHERE r.room_id = $1') ? this.rooms.get(values[0] as RoomId) : undefined
    const rows = room ? [rowOf(room)] : []
    return { rows, rowCount: rows.length }
  }
}

function identityOf(token: string | undefined): Identity {
  if (token === undefined) throw new ChatError('token_missing')
  const [userId, role = 'user'] = token.split('.')
  return { userId: userId as UserId, role } as Identity
}

function rowOf({ roomId, kind, name, metadata, status, headSeq, messageCount, participants, invited }: RoomState) {
  return {
    roomId, orderId: kind === 'order' ? roomId : null, kind, name, metadata, history: 'all', subjectId: null, mediatorInvited: invited.size > 0,
    participants: [...participants].map(([userId, role]) => ({ userId, role, sinceSeq: 1 })),
    readOnly: status === 'closed', closedReason: null, closeNote: null, headSeq, messageCount, openedAt: 0, openedAtUs: 0, lastEventAt: 0, closedAt: null,
  }
}
