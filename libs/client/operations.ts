import type { ReplyFrame } from '#libs/domain/frames.ts'
import type { ClientMessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import { newClientMessageId } from './core/message-id.ts'
import { judgeReply, laneOf, type Operation, type OperationAck, type OperationRequest, OUTSIDE, requestProblem } from './core/operations.ts'
import { emptyOutbox, enqueued, entriesOf, findItem, interrupted, nextOf, type Outbox, putOff, removed, sent } from './core/outbox.ts'
import { ChatClientError, type ClientErrorCode } from './errors.ts'
import type { Ports } from './ports.ts'
import type { Request } from './requests.ts'
import { Timer } from './timer.ts'

export type OperationsOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random' | 'randomBytes'>
  readonly operationsMax: number
  readonly contentLengthMax: number
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  readonly serverNowMs: () => number
  readonly isOnline: () => boolean
  readonly isLive: (roomId: RoomId) => boolean
  /** Comes before the promise resolves, so that the app has the event when it goes on. */
  readonly onOwnAck: (ack: OperationAck) => void
  readonly onNotJoined: (roomId: RoomId) => void
  readonly onError: (error: ChatClientError) => void
}

type Watcher = { readonly resolve: (ack: OperationAck) => void; readonly reject: (error: ChatClientError) => void }

/**
 * Everything but messages that becomes an event of a room: sent in the order of asking, one of a room at a time, and again
 * under the same id until it is acknowledged or refused for good. Kept in memory alone: what waits ends with the client.
 */
export class Operations {
  readonly #options: OperationsOptions
  readonly #watchers = new Map<ClientMessageId, Watcher>()
  readonly #timers = new Map<RoomId, Timer>()
  /** Rooms that were lost while a request was on its way, which still gets its reply. */
  readonly #lost = new Map<RoomId, ClientErrorCode>()
  #queue: Outbox<Operation> = emptyOutbox
  #userId: UserId | undefined
  #closed = false

  constructor(options: OperationsOptions) {
    this.#options = options
  }

  /** Rejects with `operations_full`, `invalid_request`, `content_too_long`, `client_closed`, or as the server refuses it. May be ignored. */
  ask(request: OperationRequest): Promise<OperationAck> {
    const asked = new Promise<OperationAck>((resolve, reject) => this.#enqueue(request, { resolve, reject }))
    asked.catch(() => {})
    return asked
  }

  /** Sends what is due of a room that is live, or of what needs no room. */
  flush(lane: RoomId): void {
    const { isLive, isOnline, ports } = this.#options
    if (this.#closed || !(lane === OUTSIDE ? isOnline() : isLive(lane))) return
    this.#lost.delete(lane)
    const next = nextOf(this.#queue, lane, ports.clock.monotonicMs())
    if (!next) return
    if ('send' in next) this.#send(next.send)
    else this.#timerOf(lane).start(next.waitMs, () => this.flush(lane))
  }

  onOnline(userId: UserId): void {
    this.#userId = userId
    for (const operation of entriesOf(this.#queue)) {
      if (operation.senderId !== undefined && operation.senderId !== userId) this.#fail(operation, new ChatClientError('sender_changed'))
    }
  }

  onOffline(): void {
    for (const timer of this.#timers.values()) timer.stop()
    this.#queue = interrupted(this.#queue)
    for (const [roomId, code] of this.#lost) this.failRoom(roomId, code)
  }

  /** What is on its way may be the reason, as when one leaves: its reply is waited for. */
  failRoom(roomId: RoomId, code: ClientErrorCode): void {
    this.#timers.get(roomId)?.stop()
    this.#lost.set(roomId, code)
    for (const operation of entriesOf(this.#queue, roomId)) {
      if (!findItem(this.#queue, roomId, operation.clientMessageId)?.inFlight) this.#fail(operation, new ChatClientError(code))
    }
    if (!this.#queue.queues.has(roomId)) this.#lost.delete(roomId)
  }

  close(): void {
    this.#closed = true
    this.onOffline()
    for (const operation of entriesOf(this.#queue)) this.#fail(operation, new ChatClientError('client_closed'))
  }

  #enqueue(request: OperationRequest, watcher: Watcher): void {
    const { operationsMax, contentLengthMax, serverNowMs, ports } = this.#options
    if (this.#closed) throw new ChatClientError('client_closed')
    const problem = requestProblem(request)
    if (problem !== undefined) throw new ChatClientError('invalid_request', { detail: problem })
    if (request.type === 'editMessage' && request.message.length > contentLengthMax) throw new ChatClientError('content_too_long')
    if (this.#queue.size >= operationsMax) throw new ChatClientError('operations_full')
    const clientMessageId = newClientMessageId(serverNowMs(), ports.randomBytes(16))
    const roomId = laneOf(request)
    const operation: Operation = { clientMessageId, roomId, request: withId(request, clientMessageId), ...(this.#userId !== undefined && { senderId: this.#userId }) }
    this.#watchers.set(clientMessageId, watcher)
    this.#queue = enqueued(this.#queue, operation, true)
    this.flush(roomId)
  }

  #send(operation: Operation): void {
    this.#queue = sent(this.#queue, operation)
    this.#options.request(operation.request, (reply) => this.#onReply(operation, reply))
  }

  #onReply(operation: Operation, reply: ReplyFrame): void {
    const verdict = judgeReply(operation, reply)
    if (verdict.kind === 'acked') {
      this.#options.onOwnAck(verdict.ack)
      this.#take(operation)?.resolve(verdict.ack)
    } else if (verdict.kind === 'failed') {
      const { code, retriable, message } = verdict
      this.#fail(operation, new ChatClientError(code, { retriable, cause: message }))
    } else {
      if (verdict.why === 'unreadable') this.#options.onError(new ChatClientError('bad_frame', { detail: 'an ack without roomId or seq' }))
      this.#putOff(operation, verdict.retryAfterMs)
      if (verdict.why === 'notJoined') this.#options.onNotJoined(operation.roomId)
    }
    this.flush(operation.roomId)
  }

  #putOff(operation: Operation, retryAfterMs: number | undefined): void {
    const { clock, random } = this.#options.ports
    this.#queue = putOff(this.#queue, operation, retryAfterMs, clock.monotonicMs(), random())
    const code = this.#lost.get(operation.roomId)
    if (code !== undefined) this.failRoom(operation.roomId, code)
  }

  #fail(operation: Operation, error: ChatClientError): void {
    this.#take(operation)?.reject(error)
  }

  /** Undefined if it has ended already. */
  #take({ roomId, clientMessageId }: Operation): Watcher | undefined {
    const watcher = this.#watchers.get(clientMessageId)
    this.#watchers.delete(clientMessageId)
    this.#queue = removed(this.#queue, roomId, clientMessageId)
    return watcher
  }

  #timerOf(lane: RoomId): Timer {
    const timer = this.#timers.get(lane) ?? new Timer(this.#options.ports.clock)
    this.#timers.set(lane, timer)
    return timer
  }
}

/** A group is known by its clientId, so that asking twice is asking once; everything else goes by clientMessageId. */
function withId(request: OperationRequest, clientMessageId: ClientMessageId): OperationRequest {
  // Said twice it is as if it were said once.
  if (request.type === 'setChat') return request
  if (request.type !== 'createConversation') return { ...request, clientMessageId }
  return request.kind === 'group' && request.clientId === undefined ? { ...request, clientId: clientMessageId } : request
}
