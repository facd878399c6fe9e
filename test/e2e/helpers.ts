import { v7 as uuidV7 } from 'uuid'
import { type ChatSocket, type ConnectOptions, type Frame, RefusedError } from '../support/chat-socket.ts'
import type { System } from '../support/system.ts'

/** first … last */
export const range = (first: number, last: number): number[] => Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i)

export const seqsOf = (frames: readonly Frame[]): number[] => frames.map((f) => f['seq'] as number)

export type Answer = { readonly status: number; readonly body: Frame }

export type Attempt = Omit<ConnectOptions, 'token'> & { readonly token?: string | undefined }

/** What an upgrade is refused with. */
export async function upgradeRefusal(system: System, edge: number, attempt: Attempt): Promise<Answer> {
  try {
    const socket = await system.connectAs(edge, { token: undefined, ...attempt })
    socket.close()
  } catch (err) {
    if (err instanceof RefusedError) return { status: err.status, body: err.body }
    throw err
  }
  throw new Error(`was not refused: ${JSON.stringify(attempt)}`)
}

/** The same URL with the same headers, as a browser probes it. */
export async function probe(system: System, edge: number, { token, orderId, since = 0, path, headers, protocols = [] }: Attempt): Promise<Answer & { readonly headers: Headers }> {
  const response = await fetch(`${system.edgeUrl(edge)}${path ?? `/chat?orderId=${encodeURIComponent(orderId ?? '')}&since=${since}`}`, {
    headers: { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...(protocols.length > 0 && { 'sec-websocket-protocol': protocols.join(', ') }), ...headers },
  })
  return { status: response.status, body: (await response.json()) as Frame, headers: response.headers }
}

/** Sends until the answer is final, as a client with an outbox does: always the same clientMessageId. */
export async function sendUntilAnswered(socket: ChatSocket, message: string, extra: Readonly<Record<string, unknown>> & { readonly clientMessageId: string }): Promise<Frame> {
  for (let attempt = 0; ; attempt++) {
    const reply = await socket.sendMessage(message, extra)
    if (reply.type !== 'error' || reply['retriable'] !== true || attempt === 20) return reply
    await new Promise((resolve) => setTimeout(resolve, (reply['retryAfterMs'] as number | undefined) ?? 200))
  }
}

/** An ack as its first sending gave it. */
export function originalOf({ id: _, repeated: __, ...ack }: Frame): Omit<Frame, 'type'> {
  return ack
}

/** A clientMessageId whose own time is `offsetMs` from now. */
export const clientMessageIdAt = (offsetMs: number): string => uuidV7({ msecs: Date.now() + offsetMs })
export const newClientMessageId = (): string => uuidV7()

/** A history as one fresh socket is given it: every event of the room up to its head. */
export async function readRoom(system: System, edge: number, userId: string, orderId: string): Promise<Frame[]> {
  const socket = await system.connect(edge, { userId, orderId, until: 'open' })
  await socket.waitForType('caughtUp')
  socket.close()
  return socket.events()
}

/** Joins on an open socket, over and over while the room is not there yet, without a pause. */
export async function joinOnceOpen(socket: ChatSocket, roomId: string, since = 0): Promise<Frame> {
  const deadlineMs = Date.now() + 20_000
  for (;;) {
    const reply = await socket.request({ type: 'join', roomId, since })
    const isEarly = reply.type === 'error' && ['room_not_found', 'rate_limited', 'unavailable'].includes(reply['code'] as string)
    if (!isEarly || Date.now() > deadlineMs) return reply
  }
}

/** Sends all, at most `inFlight` at a time, and gives the replies in that order. */
export async function sendAll(socket: ChatSocket, messages: readonly string[], extra: Readonly<Record<string, unknown>> = {}, inFlight = 40): Promise<Frame[]> {
  const replies: Frame[] = []
  let next = 0
  const worker = async () => {
    while (next < messages.length) {
      const i = next++
      replies[i] = await socket.sendMessage(messages[i]!, extra)
    }
  }
  await Promise.all(range(1, inFlight).map(worker))
  return replies
}

/** For limits that are not what a test is about. */
export const wideLimits: Readonly<Record<string, string>> = {
  ROOM_DUPLICATES_WINDOW_MS: '0',
  EDGE_CONNECTIONS_PER_USER_MAX: '1000',
  EDGE_REQUESTS_PER_SECOND_CONNECTION: '100000',
  EDGE_REQUESTS_PER_SECOND_USER: '100000',
  ROOM_MESSAGES_PER_SECOND_MAX: '100000',
}
