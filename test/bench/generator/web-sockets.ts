import { setTimeout as pause } from 'node:timers/promises'
import { v7 as uuidV7 } from 'uuid'
import WebSocket from 'ws'
import type { ConnectOrder, LinkSpec } from './messages.ts'
import { type Ear, type Links, ofRequestId, readStamp, requestIdOf } from './protocol.ts'

/**
 * What a server speaks inside WebSocket frames, written and read as text: the same bare `ws` and the same few string
 * operations for every server, so that the generator costs each of them the same.
 */
type Dialect = {
  url(spec: LinkSpec, order: ConnectOrder): string
  headers(spec: LinkSpec): Record<string, string>
  /** Calls `ready` once messages flow. May answer by `say`. */
  onFrame(frame: string, spec: LinkSpec, say: (frame: string) => void, ready: () => void, ear: Ear): void
  message(spec: LinkSpec, id: number, text: string): string
}

const orderChat: Dialect = {
  url: ({ url, roomId }, { since = 0 }) => (roomId === '' ? `${url}/ws/chat` : `${url}/chat?orderId=${roomId}&since=${since}`),
  headers: ({ token }) => ({ authorization: `Bearer ${token}` }),
  onFrame(frame, spec, _say, ready, ear) {
    if (frame.includes('"type":"newMessage"')) readStamp(frame, ear.onMessage)
    else if (frame.includes('"type":"ack"')) readAck(/"id":(\d+)/.exec(frame)?.[1], ear)
    else if (frame.includes('"type":"error"')) ear.onTrouble(frame)
    else if (frame.includes('"type":"joined"') || spec.roomId === '') ready()
  },
  message: (_, id, text) => `{"id":${id},"type":"sendMessage","clientMessageId":"${uuidV7()}","message":"${text}"}`,
}

/** Whoever is online goes away and the other way round: each send is a change. */
function presenceOfOrderChat(): Dialect {
  const away = new WeakSet<LinkSpec>()
  return {
    ...orderChat,
    message: (spec, id) => {
      const isAway = away.delete(spec)
      if (!isAway) away.add(spec)
      return `{"id":${id},"type":"setPresence","status":"${isAway ? 'online' : 'away'}"}`
    },
  }
}

/** engine.io 4 and socket.io 5 by hand: `0` open, `40` connect, `42` event, `43` ack, `2` ping, `3` pong. */
const socketIo: Dialect = {
  url: ({ url }) => `${url}/socket.io/?EIO=4&transport=websocket`,
  headers: () => ({}),
  onFrame(frame, { roomId, token }, say, ready, ear) {
    if (frame.startsWith('42')) readStamp(frame, ear.onMessage)
    else if (frame.startsWith('43')) {
      if (frame.includes('"ok":true')) readAck(/^43(\d+)/.exec(frame)?.[1], ear)
      else ear.onTrouble(frame)
    } else if (frame.startsWith('40')) ready()
    else if (frame.startsWith('44')) ear.onTrouble(frame)
    else if (frame === '2') say('3')
    else if (frame.startsWith('0')) say(`40${JSON.stringify({ token, roomId })}`)
  },
  message: ({ roomId }, id, text) => `42${id}["message",{"roomId":"${roomId}","clientMessageId":"${uuidV7()}","text":"${text}"}]`,
}

/** A frame is the room and the text; there is no ack. For servers that do nothing but pass on. */
const plain: Dialect = {
  url: ({ url, roomId }) => `${url}/?roomId=${roomId}`,
  headers: () => ({}),
  onFrame: (frame, _spec, _say, ready, ear) => {
    if (frame === 'ready') ready()
    else readStamp(frame, ear.onMessage)
  },
  message: (_, _id, text) => text,
}

const dialects = { 'order-chat': orderChat, 'order-chat-presence': presenceOfOrderChat(), 'socket-io': socketIo, plain }

function readAck(id: string | undefined, ear: Ear): void {
  if (id === undefined) return
  const { run, n } = ofRequestId(Number(id))
  ear.onAck(run, n)
}

const OPEN_WITHIN_MS = 60_000
/** What tells a client to come again. */
const RETRIABLE = /Unexpected server response: (429|503)/
const RETRY_AFTER_MS = 200

export async function openSockets(order: ConnectOrder, ear: Ear): Promise<Links> {
  const dialect = dialects[order.protocol as keyof typeof dialects]
  const sockets: (WebSocket | undefined)[] = order.links.map(() => undefined)
  const failures: string[] = []
  let closing = false
  const openOne = (spec: LinkSpec): Promise<WebSocket> =>
    new Promise((resolve, reject) => {
      const ws = new WebSocket(dialect.url(spec, order), { headers: dialect.headers(spec), perMessageDeflate: false, skipUTF8Validation: true })
      const timer = setTimeout(() => reject(new Error('was not open in time')), OPEN_WITHIN_MS)
      const ready = () => {
        clearTimeout(timer)
        resolve(ws)
      }
      const say = (frame: string) => ws.send(frame)
      ws.on('message', (data: Buffer) => {
        ear.onBytes(data.length)
        dialect.onFrame(data.toString('latin1'), spec, say, ready, ear)
      })
      if (order.upgradeOnly) ws.on('open', ready)
      ws.on('error', reject)
      ws.on('close', (code, reason) => {
        reject(new Error(`closed with ${code} ${reason}`))
        if (!closing) ear.onTrouble(`closed with ${code} ${reason}`)
      })
    })
  const waiting = order.links.entries()
  const deadlineMs = Date.now() + OPEN_WITHIN_MS
  let retries = 0
  const openSome = async (): Promise<void> => {
    for (const [i, spec] of waiting) {
      while (sockets[i] === undefined) {
        try {
          sockets[i] = await openOne(spec)
        } catch (err) {
          const { message } = err as Error
          if (!RETRIABLE.test(message) || Date.now() > deadlineMs) {
            failures.push(`${spec.userId}: ${message}`)
            break
          }
          retries++
          await pause(RETRY_AFTER_MS)
        }
      }
    }
  }
  await Promise.all(Array.from({ length: order.atOnce }, openSome))
  return {
    opened: sockets.filter((ws) => ws !== undefined).length,
    failures,
    retries,
    send: (link, run, n, text) => sockets[link]?.send(dialect.message(order.links[link]!, requestIdOf(run, n), text)),
    close: async () => {
      closing = true
      for (const ws of sockets) ws?.terminate()
    },
  }
}
