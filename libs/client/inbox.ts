import type { ChatFields, InboxPageFrame, ReplyFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { FOREVER_MS, type InboxTotals } from '#libs/domain/inbox.ts'
import { retryDelayMs } from './core/backoff.ts'
import { byActivity, disconnected, emptyInbox, forgotten, type InboxPhase, type InboxSnapshot, type InboxState, type InboxStep, onChange, onHead, onPage, onSynced, restored, snapshotOf, startSyncing } from './core/inbox-state.ts'
import type { OperationAck, OperationRequest } from './core/operations.ts'
import { Emitter } from './emitter.ts'
import { ChatClientError, toClientError } from './errors.ts'
import type { InboxStorage, Ports } from './ports.ts'
import type { Request } from './requests.ts'
import { Timer } from './timer.ts'

export type InboxEvents = {
  /** These chats have changed, each as it is now; one with status `left` is in `chats` no more. While it syncs, `totals` are those of before. */
  change: { readonly chats: readonly ChatFields[]; readonly totals: InboxTotals }
  /** Everything up to `cursor` is there; what follows is live. */
  synced: { readonly cursor: number; readonly totals: InboxTotals }
}

export type ChatSettings = {
  /** ms since 1970; 0: not muted; `FOREVER_MS`. */
  readonly mutedUntilMs?: number
  readonly archived?: boolean
}

/** What the server has made of one chat. `chat` is left out where it was so already. */
export type ChatAck = { readonly roomId: RoomId; readonly userSeq: number; readonly unchanged: boolean; readonly chat?: ChatFields }

/** The user's own list of chats, across all rooms. */
export type Inbox = {
  readonly phase: InboxPhase
  /** The last `userSeq` of which the list has everything. */
  readonly cursor: number
  /** By last activity, the latest first; muted and archived ones too. A new array after each change. */
  readonly chats: readonly ChatFields[]
  readonly totals: InboxTotals
  /** JSON-safe: what `start` takes next time. */
  readonly snapshot: InboxSnapshot
  on<K extends keyof InboxEvents>(name: K, listener: (value: InboxEvents[K]) => void): () => void
  /** Syncs now, or as soon as there is a connection, and again after every reconnect. Begins with `kept`, else with what the storage has. */
  start(kept?: InboxSnapshot): void
  /** From now on nothing is taken, and no later socket is asked. The list stays. */
  stop(): void
  /** Repeated until it is answered, in the order of asking; may be ignored. Rejects with `invalid_request`, `chat_not_found`, … */
  setChat(roomId: string, settings: ChatSettings): Promise<ChatAck>
  /** Without a time: for ever. */
  mute(roomId: string, untilMs?: number): Promise<ChatAck>
  unmute(roomId: string): Promise<ChatAck>
  archive(roomId: string, on?: boolean): Promise<ChatAck>
}

export type InboxSessionOptions = {
  readonly ports: Pick<Ports, 'clock' | 'random'>
  readonly storage: InboxStorage | undefined
  readonly request: (request: Request, onReply: (reply: ReplyFrame) => void) => void
  readonly ask: (request: OperationRequest) => Promise<OperationAck>
  readonly isOnline: () => boolean
  readonly userId: () => UserId | undefined
  readonly onError: (error: ChatClientError) => void
  readonly onThrown: (err: unknown) => void
}

/** The list is kept at most so often: it may be large. */
const SAVE_EVERY_MS = 2_000

/** Does what core/inbox-state.ts decides. */
export class InboxSession implements Inbox {
  readonly #options: InboxSessionOptions
  readonly #events: Emitter<InboxEvents>
  readonly #syncTimer: Timer
  readonly #saveTimer: Timer
  #state: InboxState = emptyInbox
  #sorted: readonly ChatFields[] | undefined
  #refusals = 0
  /** Syncs of this socket that were not answered yet. */
  readonly #unanswered = new Set<object>()
  #saveDue = false
  #saving: Promise<void> = Promise.resolve()
  #loaded: Promise<void> | undefined

  constructor(options: InboxSessionOptions) {
    this.#options = options
    this.#events = new Emitter(options.onThrown)
    this.#syncTimer = new Timer(options.ports.clock)
    this.#saveTimer = new Timer(options.ports.clock)
  }

  get phase(): InboxPhase {
    return this.#state.phase
  }

  get cursor(): number {
    return this.#state.cursor
  }

  get chats(): readonly ChatFields[] {
    return (this.#sorted ??= byActivity(this.#state))
  }

  get totals(): InboxTotals {
    return this.#state.totals
  }

  get snapshot(): InboxSnapshot {
    return snapshotOf(this.#state, this.#options.ports.clock.nowMs())
  }

  on<K extends keyof InboxEvents>(name: K, listener: (value: InboxEvents[K]) => void): () => void {
    return this.#events.on(name, listener)
  }

  start(kept?: InboxSnapshot): void {
    if (this.phase !== 'off') return
    this.#move({ ...(kept ? restored(this.#state, kept, this.#options.ports.clock.nowMs()) : this.#state), phase: 'away' })
    this.#loaded ??= kept ? Promise.resolve() : this.#load()
    void this.#loaded.then(() => this.onOnline())
  }

  stop(): void {
    this.#syncTimer.stop()
    this.#move({ ...this.#state, phase: 'off' })
    this.#save()
  }

  setChat(roomId: string, settings: ChatSettings): Promise<ChatAck> {
    const asked = this.#options.ask({ type: 'setChat', roomId: roomId as RoomId, ...settings }).then(({ roomId: id, userSeq = 0, unchanged, chat }) => ({ roomId: id, userSeq, unchanged, ...(chat && { chat }) }))
    asked.catch(() => {})
    return asked
  }

  mute(roomId: string, untilMs = FOREVER_MS): Promise<ChatAck> {
    return this.setChat(roomId, { mutedUntilMs: untilMs })
  }

  unmute(roomId: string): Promise<ChatAck> {
    return this.setChat(roomId, { mutedUntilMs: 0 })
  }

  archive(roomId: string, on = true): Promise<ChatAck> {
    return this.setChat(roomId, { archived: on })
  }

  /** A socket is up, the storage has told what it has, or what was asked for before a stop has come. */
  onOnline(): void {
    const userId = this.#options.userId()
    if (this.phase !== 'away' || userId === undefined || !this.#options.isOnline()) return
    void this.#loaded?.then(() => {
      // Of a sync that was stopped some pages may have been let go: those that still come would move the cursor over them.
      if (this.phase !== 'away' || !this.#options.isOnline() || this.#unanswered.size > 0) return
      this.#refusals = 0
      this.#move(startSyncing(this.#state, userId))
      this.#sync()
    })
  }

  onOffline(): void {
    this.#syncTimer.stop()
    this.#unanswered.clear()
    this.#move(disconnected(this.#state))
  }

  onPage(page: InboxPageFrame['chats']): void {
    this.#apply(onPage(this.#state, page))
  }

  onSynced(userSeq: number, totals: InboxTotals): void {
    this.#apply(onSynced(this.#state, userSeq, totals))
  }

  onChange(change: { readonly userSeq: number; readonly chat: ChatFields; readonly totals: InboxTotals }): void {
    this.#apply(onChange(this.#state, change))
  }

  onHead(userSeq: number): void {
    this.#apply(onHead(this.#state, userSeq))
  }

  /** Of a `setChat`: it stands in the place of the change. */
  onAck({ userSeq, chat, totals }: OperationAck): void {
    if (userSeq !== undefined && chat && totals) this.onChange({ userSeq, chat, totals })
  }

  async close(): Promise<void> {
    this.stop()
    await this.#saving
  }

  #apply({ state, outcome, changed }: InboxStep): void {
    this.#move(state)
    if (changed.length > 0) this.#events.emit('change', { chats: changed, totals: state.totals })
    if (outcome === 'synced') this.#events.emit('synced', { cursor: state.cursor, totals: state.totals })
    if (outcome === 'sync') this.#syncAgain()
    if (changed.length > 0 || outcome === 'synced') this.#saveSoon()
  }

  /** The first time at once; if syncing does not help, ever slower. */
  #syncAgain(): void {
    const { fruitless } = this.#state
    if (fruitless <= 1) this.#sync()
    else this.#syncTimer.start(retryDelayMs(fruitless - 2, this.#options.ports.random()), () => this.#sync())
  }

  #sync(): void {
    this.#syncTimer.stop()
    const asked = {}
    this.#unanswered.add(asked)
    this.#options.request({ type: 'sync', cursor: this.cursor }, (reply) => {
      this.#unanswered.delete(asked)
      if (this.phase === 'away') return this.onOnline()
      if (reply.type === 'synced') {
        this.#refusals = 0
        this.onSynced(reply.userSeq, reply.totals)
      } else if (reply.type === 'error') this.#onRefused(reply)
    })
  }

  #onRefused({ code, message, retriable, retryAfterMs }: ReplyFrame & { readonly type: 'error' }): void {
    if (this.phase !== 'syncing') return
    if (retriable) this.#syncTimer.start(retryDelayMs(this.#refusals++, this.#options.ports.random(), { retryAfterMs }), () => this.#sync())
    else if (code === 'invalid_request' && this.cursor > 0) {
      this.#move(forgotten(this.#state))
      this.#syncAgain()
    } else {
      this.#move({ ...this.#state, phase: 'off' })
      this.#options.onError(new ChatClientError(code, { retriable, detail: message }))
    }
  }

  #move(state: InboxState): void {
    if (state.chats !== this.#state.chats) this.#sorted = undefined
    this.#state = state
  }

  async #load(): Promise<void> {
    try {
      const kept = await this.#options.storage?.load()
      if (kept && this.cursor === 0) this.#move(restored(this.#state, kept, this.#options.ports.clock.nowMs()))
    } catch (err) {
      this.#options.onError(toClientError(err, 'storage_failed'))
    }
  }

  #saveSoon(): void {
    if (!this.#options.storage || this.#saveDue) return
    this.#saveDue = true
    this.#saveTimer.start(SAVE_EVERY_MS, () => this.#save())
  }

  #save(): void {
    const { storage, onError } = this.#options
    this.#saveTimer.stop()
    if (!storage || !this.#saveDue) return
    this.#saveDue = false
    this.#saving = this.#saving.then(() => storage.save(this.snapshot)).catch((err: unknown) => onError(toClientError(err, 'storage_failed')))
  }
}
