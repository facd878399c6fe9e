/** What the runner tells a client process, as JSON over its IPC channel. */
export type ClientPlan = {
  readonly historyFile: string
  /** `http://127.0.0.1:<port>`, behind which some edge answers. */
  readonly edgeUrl: string
  readonly users: readonly UserPlan[]
}

export type UserPlan = {
  readonly userId: string
  readonly token: string
  /** `sdk`: libs/client on one socket for all its rooms; `raw`: one bare WebSocket a room. */
  readonly kind: 'sdk' | 'raw'
  readonly rooms: readonly string[]
  /** Between two messages of this user to one room, on average. */
  readonly everyMs: number
}

export type ClientOrder = { readonly do: 'start'; readonly plan: ClientPlan } | { readonly do: 'quiet' | 'stop' | 'status' }

export type ClientStatus = {
  readonly sent: number
  /** Messages that are neither acked nor refused for good. */
  readonly unacked: number
  /** By `user in room`: the last seq that was seen. */
  readonly seen: Readonly<Record<string, number>>
  /** By user: up to where his own list is there. */
  readonly lists: Readonly<Record<string, number>>
}
