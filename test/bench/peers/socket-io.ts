// The usual build: Socket.IO 4, the Redis adapter between instances, a row in Postgres for each message.
import { createServer } from 'node:http'
import { createAdapter } from '@socket.io/redis-adapter'
import { Redis } from 'ioredis'
import { createLocalJWKSet, jwtVerify } from 'jose'
import pg from 'pg'
import { Server, type Socket } from 'socket.io'

const { PORT, POSTGRES_URL, REDIS_URL = '', JWKS = '', AUTH_ISSUER = '', AUTH_AUDIENCE = '', POOL_MAX } = process.env

type Message = { readonly roomId: string; readonly clientMessageId: string; readonly text: string }
type Ack = (answer: { readonly ok: boolean; readonly messageId?: string; readonly timestamp?: number; readonly code?: string }) => void

/** Only a member's message is stored, a repeated one once; the commit is on disk when the answer comes. */
const INSERT = {
  name: 'insert',
  text: `INSERT INTO messages (room_id, sender_id, client_message_id, content)
         SELECT room_id, user_id, $3, $4 FROM members WHERE room_id = $1 AND user_id = $2
         ON CONFLICT (room_id, sender_id, client_message_id) DO UPDATE SET content = messages.content
         RETURNING id, sent_at`,
}
const IS_MEMBER = { name: 'is-member', text: 'SELECT 1 FROM members WHERE room_id = $1 AND user_id = $2' }

const pool = new pg.Pool({ connectionString: POSTGRES_URL, max: Number(POOL_MAX) })
const keys = createLocalJWKSet(JSON.parse(JWKS))
const redis = new Redis(REDIS_URL)
const http = createServer((_, res) => res.end('ok'))
const io = new Server(http, { transports: ['websocket'], serveClient: false, perMessageDeflate: false, httpCompression: false })
io.adapter(createAdapter(redis, redis.duplicate()))

io.use(async (socket, next) => {
  try {
    const { token, roomId } = socket.handshake.auth as { token: string; roomId: string }
    const { payload } = await jwtVerify(token, keys, { issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, algorithms: ['ES256'] })
    socket.data = { userId: payload.sub }
    if (roomId) {
      const { rowCount } = await pool.query({ ...IS_MEMBER, values: [roomId, payload.sub] })
      if (rowCount === 0) throw new Error('not_a_participant')
      await socket.join(roomId)
    }
    next()
  } catch (err) {
    next(err as Error)
  }
})

io.on('connection', (socket) => {
  socket.on('message', (message: Message, ack: Ack) => {
    take(socket, message).then(ack, () => ack({ ok: false, code: 'unavailable' }))
  })
})

async function take(socket: Socket, { roomId, clientMessageId, text }: Message): Promise<Parameters<Ack>[0]> {
  const { userId } = socket.data as { userId: string }
  if (typeof text !== 'string' || text.length === 0 || text.length > 4_000 || typeof clientMessageId !== 'string') return { ok: false, code: 'malformed' }
  const { rows } = await pool.query({ ...INSERT, values: [roomId, userId, clientMessageId, text] })
  if (rows.length === 0) return { ok: false, code: 'not_a_participant' }
  const { id, sent_at: sentAt } = rows[0] as { id: string; sent_at: Date }
  const timestamp = sentAt.getTime()
  socket.to(roomId).emit('message', { roomId, messageId: id, clientMessageId, senderId: userId, content: text, timestamp })
  return { ok: true, messageId: id, timestamp }
}

http.listen(Number(PORT), '127.0.0.1')
