import type { RequestId } from '#libs/domain/frames.ts'
import type { UserId } from '#libs/domain/ids.ts'
import type { Connection } from './connection.ts'

/** A user's own list on one socket. Live changes go out in order of `userSeq`, each exactly once: `offer` takes only the next one. */
export class InboxSubscription {
  readonly connection: Connection
  readonly userId: UserId
  /** Everything up to here has been handed to this socket, each chat with its last change. */
  lastSeq: number
  /** syncing: a reader brings it up to the last change; live: it is there; ended: synced anew, or closed. */
  mode: 'syncing' | 'live' | 'ended' = 'syncing'
  /** Requests that wait for `synced`. */
  asked: RequestId[]

  constructor(connection: Connection, cursor: number, asked: readonly RequestId[]) {
    this.connection = connection
    this.userId = connection.speaker.userId
    this.lastSeq = cursor
    this.asked = [...asked]
  }

  /** Hands on the change of `userSeq`. True if it was the next one of a live socket. */
  offer(userSeq: number, frame: () => string): boolean {
    if (this.mode !== 'live' || userSeq !== this.lastSeq + 1) return false
    this.lastSeq = userSeq
    this.connection.sendText(frame())
    return true
  }
}
