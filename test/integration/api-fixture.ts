import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { devJwks, signDevToken } from '#libs/auth/dev-key.ts'
import { messageIdOf, type ClientMessageId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { Participant, RoomEventBody } from '#libs/domain/room.ts'
import { migrate } from '#libs/postgres/migrate.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { createPool, type Pool, type Queryable } from '#libs/postgres/pool.ts'
import { withTransaction } from '#libs/postgres/transaction.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { apiConfigFromEnv } from '../../services/api/config.ts'
import { type RunningApi, startApi } from '../../services/api/service.ts'
import { useStack } from '../support/stack.ts'

export const silent = createLogger('test', 'test', 'silent')
const ISSUER = { AUTH_ISSUER: 'order-chat-test', AUTH_AUDIENCE: 'order-chat' }

export type Answer = { readonly status: number; readonly body: any; readonly headers: Headers }
export type ApiFixture = {
  readonly api: RunningApi
  /** What the persister would have: writes rows. */
  readonly pool: Pool
  readonly env: Record<string, string>
  readonly link: Link
  tokenOf(userId: string, role?: string): Promise<string>
  /** A request with a JSON body (or none) as this user. */
  send(method: string, url: string, user: string, body?: unknown): Promise<Answer>
  /** GET as this user (a token is made), or without a token. */
  get(url: string, user?: string | { readonly userId: string; readonly role: string }, signal?: AbortSignal): Promise<Answer>
  close(): Promise<void>
}

/** One api over a database of its own, reached through a link that a test can cut. No topics are there, so it reads and does not write. */
export async function startFixture(name: string, env: Record<string, string> = {}): Promise<ApiFixture> {
  const stack = await useStack()
  const isolated = await stack.isolate(name)
  await migrate(isolated.postgresUrl)
  const dir = mkdtempSync(path.join(tmpdir(), 'order-chat-api-'))
  const file = path.join(dir, 'dev-key.json')
  const jwks = createServer((_req, res) => {
    void devJwks(file).then((keys) => res.end(JSON.stringify(keys)))
  })
  const jwksPort = await listen(jwks)
  const link = await openLink(isolated.postgresUrl)
  const allEnv = {
    ...ISSUER,
    AUTH_JWKS_URL: `http://127.0.0.1:${jwksPort}/`,
    POSTGRES_URL: link.url,
    KAFKA_BROKERS: stack.kafkaBrokers.join(','),
    KAFKA_TOPIC_PREFIX: isolated.topicPrefix,
    SCHEMA_REGISTRY_URL: stack.schemaRegistryUrl,
    REDIS_URL: isolated.redisUrl,
    API_PORT: '0',
    LOG_LEVEL: 'silent',
    ...env,
  }
  const api = await startApi(apiConfigFromEnv(allEnv))
  const pool = createPool(postgresConfigFromEnv({ POSTGRES_URL: isolated.postgresUrl }), silent)
  const tokenOf = (userId: string, role = 'user') =>
    signDevToken({ file, issuer: ISSUER.AUTH_ISSUER, audience: ISSUER.AUTH_AUDIENCE, userId, role, ttlS: 300 })
  return {
    api,
    pool,
    env: allEnv,
    link,
    tokenOf,
    send: async (method, url, user, body) => {
      const headers = { authorization: `Bearer ${await tokenOf(user)}`, ...(body !== undefined && { 'content-type': 'application/json' }) }
      const response = await fetch(`http://127.0.0.1:${api.port}${url}`, { method, headers, body: body === undefined ? null : JSON.stringify(body) })
      return { status: response.status, body: await response.json(), headers: response.headers }
    },
    get: async (url, user, signal) => {
      const { userId, role } = typeof user === 'string' ? { userId: user, role: 'user' } : (user ?? { userId: undefined, role: '' })
      const headers = userId === undefined ? {} : { authorization: `Bearer ${await tokenOf(userId, role)}` }
      const response = await fetch(`http://127.0.0.1:${api.port}${url}`, { headers, signal: signal ?? null })
      return { status: response.status, body: await response.json(), headers: response.headers }
    },
    close: async () => {
      await api.close()
      await pool.end()
      link.close()
      jwks.closeAllConnections()
      jwks.close()
      rmSync(dir, { recursive: true })
      await isolated.cleanup()
    },
  }
}

function listen(server: ReturnType<typeof createTcpServer>): Promise<number> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)))
}

/** A way to Postgres that can be down (refuses, and breaks what is open) or mute (takes all and answers nothing). */
export type Link = { readonly url: string; set(state: 'up' | 'down' | 'mute'): void; close(): void }

async function openLink(target: string): Promise<Link> {
  const to = new URL(target)
  const sockets = new Set<Socket>()
  let state = 'up'
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
  }
  const server = createTcpServer((client) => {
    keep(client)
    if (state === 'down') return client.resetAndDestroy()
    const upstream = connect(Number(to.port), to.hostname)
    keep(upstream)
    client.on('data', (data) => state === 'up' && upstream.write(data)).on('close', () => upstream.destroy())
    upstream.on('data', (data) => state === 'up' && client.write(data)).on('close', () => client.destroy())
  })
  const port = await listen(server)
  const url = new URL(target)
  url.host = `127.0.0.1:${port}`
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: url.href,
    set: (next) => {
      state = next
      if (next !== 'mute') cut()
    },
    close: () => {
      cut()
      server.close()
    },
  }
}

const START_MS = Date.UTC(2025, 5, 1)

/** A room whose events are persisted as message-persister does it: all tables in one transaction. */
export class PersistedRoom {
  readonly roomId: RoomId
  headSeq = 0
  messageCount = 0
  timeMs: number
  readonly #pool: Pool
  #participants: readonly Participant[] = []
  #closedReason: string | null = null
  #openedAtMs = 0

  constructor(pool: Pool, roomId: string, timeMs: number = START_MS) {
    this.#pool = pool
    this.roomId = roomId as RoomId
    this.timeMs = timeMs
  }

  open(...participants: readonly (readonly [string, Participant['role']])[]): Promise<this> {
    return this.persist({ type: 'roomOpened', participants: participants.map(([userId, role]) => ({ userId: userId as UserId, role })) })
  }

  say(senderId: string, content: string): Promise<this> {
    const n = this.messageCount + 1
    const clientMessageId = `0197a0b0-0000-7000-8000-${String(n).padStart(12, '0')}` as ClientMessageId
    const messageId = messageIdOf(this.roomId, senderId as UserId, clientMessageId)
    const salt = `salt-${n}`
    return this.persist({ type: 'messageSent', messageId, clientMessageId, senderId: senderId as UserId, messageIndex: n, content, salt, contentHash: `hash-${n}` })
  }

  async persist(...bodies: readonly RoomEventBody[]): Promise<this> {
    await withTransaction(this.#pool, 'read committed', async (tx) => {
      for (const body of bodies) await this.#apply(tx, body)
      const times = [this.#openedAtMs, this.timeMs].map((ms) => new Date(ms))
      await tx.query(
        `INSERT INTO chat_rooms (room_id, order_id, participants, is_readonly, closed_reason, head_seq, message_count, opened_at, last_event_at, closed_at)
         VALUES ($1, $1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $3::boolean THEN $8::timestamptz END)
         ON CONFLICT (room_id) DO UPDATE SET participants = $2, is_readonly = $3, closed_reason = $4, head_seq = $5, message_count = $6, last_event_at = $8, closed_at = EXCLUDED.closed_at`,
        [this.roomId, JSON.stringify(this.#participants), this.#closedReason !== null, this.#closedReason, this.headSeq, this.messageCount, ...times],
      )
      await tx.query('DELETE FROM room_participants WHERE room_id = $1', [this.roomId])
      for (const { userId, role } of this.#participants) {
        await tx.query('INSERT INTO room_participants (user_id, room_id, role, since_seq) VALUES ($1, $2, $3, $4)', [userId, this.roomId, role, this.headSeq])
      }
    })
    return this
  }

  async #apply(tx: Queryable, body: RoomEventBody): Promise<void> {
    const seq = ++this.headSeq
    const at = new Date((this.timeMs += 1_001))
    const { content, salt, ...kept } = { content: undefined, salt: undefined, ...body, seq, timestampMs: this.timeMs }
    await tx.query('INSERT INTO room_events (room_id, seq, event_type, occurred_at, body, log_partition, log_offset) VALUES ($1, $2, $3, $4, $5, 3, $6)', [
      this.roomId, seq, body.type, at, JSON.stringify(kept), 100 + seq,
    ])
    if (body.type === 'roomOpened') {
      this.#participants = body.participants
      this.#openedAtMs = this.timeMs
    }
    if (body.type === 'participantAdded') this.#participants = [...this.#participants, body.participant]
    if (body.type === 'participantRemoved') this.#participants = this.#participants.filter(({ userId }) => userId !== body.participant.userId)
    if (body.type === 'roomClosed') this.#closedReason = body.reason
    if (body.type !== 'messageSent') return
    this.messageCount++
    await tx.query('INSERT INTO chat_messages VALUES ($1, $2, $3, $4, $5, $6, $7)', [
      this.roomId, seq, body.messageId, body.clientMessageId, body.senderId, body.messageIndex, at,
    ])
    await tx.query('INSERT INTO message_contents (room_id, seq, content, salt) VALUES ($1, $2, $3, $4)', [this.roomId, seq, content, salt])
    // Who writes has seen what he answers.
    await tx.query(
      `INSERT INTO room_receipts VALUES ($1, $2, $3, $3, true)
       ON CONFLICT (room_id, user_id) DO UPDATE SET seen = $3, delivered = $3`,
      [this.roomId, body.senderId, body.messageIndex],
    )
  }
}
