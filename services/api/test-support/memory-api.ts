import type { FastifyInstance } from 'fastify'
import type { Identity, TokenVerifier } from '#libs/auth/verifier.ts'
import { decideInbox, evolveInbox } from '#libs/domain/decide-inbox.ts'
import { decide } from '#libs/domain/decide.ts'
import { ChatError } from '#libs/domain/errors.ts'
import { evolve } from '#libs/domain/evolve.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type InboxCommand, type InboxEntry, type InboxInput, newUser, type UserState } from '#libs/domain/inbox.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import { defaultRoomLimits } from '#libs/domain/limits.ts'
import type { RoomState } from '#libs/domain/room.ts'
import type { Queryable } from '#libs/postgres/pool.ts'
import { createLocalRateLimiter } from '#libs/redis/rate-limit.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { createRegistry } from '#libs/runtime/metrics.ts'
import type { Presigner } from '#libs/s3/presigner.ts'
import { commandFromAvro, commandToAvro } from '#libs/streams/avro-shapes.ts'
import { inboxCommandFromAvro, inboxCommandToAvro, userDecisionFromAvro, userDecisionToAvro } from '#libs/streams/inbox-shapes.ts'
import { AnsweredCommands, type AnsweredCommandsOptions } from '../answered-commands.ts'
import { createApp } from '../app.ts'
import { Commands, type CommandsOptions, type InboxCommands } from '../commands.ts'
import { HeadWatch } from '../head-watch.ts'
import { InFlight } from '../in-flight.ts'
import { createMetrics } from '../metrics.ts'

export type MemoryApiOptions = {
  readonly commands?: Partial<CommandsOptions>
  readonly inbox?: Partial<AnsweredCommandsOptions<InboxCommand>>
  readonly conversationsPerUserMax?: number
  readonly perSecondUser?: number
  readonly files?: Presigner
}

/** The HTTP side over the rules themselves: what is written is decided at once, and of Postgres there are only the rooms. */
export class MemoryApi {
  readonly rooms = new Map<RoomId, RoomState>()
  readonly users = new Map<UserId, UserState>()
  /** Conversations that each user has made, so far as the limit asks for them. */
  readonly made = new Map<UserId, number>()
  readonly published: RoomCommand[] = []
  readonly app: FastifyInstance
  readonly commands: Commands
  readonly inbox: InboxCommands

  private constructor(app: FastifyInstance, commands: Commands, inbox: InboxCommands) {
    this.app = app
    this.commands = commands
    this.inbox = inbox
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
    const inbox: InboxCommands = new AnsweredCommands({
      publish: async (command) => api.#decideInbox(command),
      isListening: () => true,
      pendingMax: 10,
      answerTimeoutMs: 5_000,
      onOutcome: () => {},
      ...options.inbox,
    })
    const logger = createLogger('test', 'test', 'silent')
    const waiters = { max: 10, perUserMax: 10, tickMs: 50 }
    const app = await createApp({
      config: {
        allowedOrigins: ['https://shop.example'],
        devKeyFile: undefined,
        room: defaultRoomLimits,
        conversationsPerUserMax: options.conversationsPerUserMax ?? 1_000,
        push: { hosts: ['push.example'], vapidPublicKey: 'the-key' },
      },
      logger,
      metrics: createMetrics(createRegistry('test'), { waiters: () => 0, connections: () => ({ total: 0, idle: 0, waiting: 0 }), pending: () => 0, isListening: () => true, isInboxListening: () => true }),
      db: { query: async (text, values) => api.#rowsOf(text, values) } as Queryable,
      // `name` or `name.role`
      tokens: { verify: async (token) => identityOf(token) } as TokenVerifier,
      heads: new HeadWatch(waiters, async () => [], logger),
      commands,
      inbox,
      writers: createLocalRateLimiter({ points: options.perSecondUser ?? 1_000, durationS: 1 }),
      files: options.files,
      inFlight: new InFlight(),
      isStopping: () => false,
    })
    const api: MemoryApi = new MemoryApi(app, commands, inbox)
    return api
  }

  async request(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', url: string, user: string | undefined, body?: unknown) {
    const headers = user === undefined ? {} : { authorization: `Bearer ${user}` }
    const answer = await this.app.inject({ method, url, headers, ...(body !== undefined && { payload: body as object }) })
    return { status: answer.statusCode, body: answer.json() as any, headers: answer.headers }
  }

  async close(): Promise<void> {
    this.commands.stop()
    this.inbox.stop()
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

  /** Of the feed, whatever it is. */
  feed(input: InboxInput): readonly InboxEntry[] {
    const before = this.users.get(input.userId) ?? newUser(input.userId)
    const entries = decideInbox(before, input, Date.now())
    this.users.set(input.userId, entries.reduce((state, entry) => evolveInbox(state, input.userId, entry), before))
    return entries
  }

  #decideInbox(given: InboxCommand): void {
    const command = inboxCommandFromAvro(inboxCommandToAvro(given))
    const answer = { userId: command.userId, commandId: command.commandId, entries: this.feed(command) }
    setImmediate(() => this.inbox.onReply(userDecisionFromAvro(userDecisionToAvro(answer))!))
  }

  #rowsOf(text: string, values: readonly unknown[] = []): { rows: unknown[]; rowCount: number } {
    if (text.includes('"isFull"')) {
      const [userId, roomId, max] = values as [UserId, RoomId, number]
      return { rows: [{ isFull: !this.rooms.has(roomId) && (this.made.get(userId) ?? 0) >= max }], rowCount: 1 }
    }
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

function rowOf({ roomId, kind, name, metadata, status, headSeq, messageCount, participants, invited, frozen }: RoomState) {
  return {
    roomId, orderId: kind === 'order' ? roomId : null, kind, name, metadata, history: 'all', subjectId: null, mediatorInvited: invited.size > 0,
    participants: [...participants].map(([userId, role]) => ({ userId, role, sinceSeq: 1 })),
    readOnly: status === 'closed', frozen, closedReason: null, closeNote: null, headSeq, messageCount, openedAt: 0, openedAtUs: 0, lastEventAt: 0, closedAt: null,
  }
}
