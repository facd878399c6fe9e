import { ChatError } from '#libs/domain/errors.ts'
import type { ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { Applied, Changes, NotificationStore } from '../follower.ts'
import type { ClosedBy, Notice, Settlement } from '../judge.ts'

export type Row = { -readonly [K in keyof Notice]: Notice[K] } & { version: number; closedBy: ClosedBy | undefined }

/** What store.ts does in SQL. */
export class MemoryNotifications implements NotificationStore {
  readonly rows: Row[] = []
  position: ReadPosition = { nextOffset: 0n, ownerEpoch: -1n, lastSources: new Map() }
  /** What goes wrong with the next ones: before anything is written, or after all is. */
  readonly failures: ('before' | 'after' | undefined)[] = []
  jobs: string[] = []
  #version = 0

  async readPosition(): Promise<ReadPosition> {
    return this.position
  }

  async apply(_: number, before: ReadPosition, after: ReadPosition, { settlements, notices }: Changes): Promise<Applied | undefined> {
    const failure = this.failures.shift()
    if (failure === 'before') throw new ChatError('unavailable', 'before')
    if (this.position.nextOffset !== before.nextOffset || this.position.ownerEpoch !== before.ownerEpoch) return undefined
    this.position = after
    const closed = settlements.filter((settlement) => this.#settle(settlement))
    const told = notices.filter((notice) => this.#tell(notice))
    const keys = new Set([...closed, ...told].map(({ userId, roomId }) => `${userId} ${roomId}`))
    this.jobs.push(...keys)
    if (failure === 'after') throw new ChatError('unavailable', 'after')
    return { told: told.length, closed: closed.length, jobs: keys.size }
  }

  open(userId: string, roomId: string): Row | undefined {
    return this.rows.find((row) => row.userId === userId && row.roomId === roomId && row.closedBy === undefined)
  }

  #settle({ userId, roomId, seen, count, badge, userSeq, closes, closesInvitation }: Settlement): boolean {
    const row = this.open(userId, roomId)
    if (!row) return false
    const own = row.kind === 'invitation' ? (closesInvitation ? 'answered' : undefined) : row.lastIndex! <= seen ? 'read' : undefined
    Object.assign(row, { count, badge, userSeq: Math.max(row.userSeq, userSeq), closedBy: closes ?? own })
    if (row.closedBy !== undefined) row.version = ++this.#version
    return row.closedBy !== undefined
  }

  #tell(notice: Notice): boolean {
    if (this.rows.some((row) => row.notificationId === notice.notificationId && row.closedBy !== undefined)) return false
    const row = this.open(notice.userId, notice.roomId)
    const last = this.rows.filter(({ userId, roomId }) => userId === notice.userId && roomId === notice.roomId).sort((a, b) => b.version - a.version)[0]
    if (!row && last && last.lastSeq >= notice.lastSeq) return false
    if (!row) {
      if (this.rows.some(({ notificationId }) => notificationId === notice.notificationId)) throw new Error(`${notice.notificationId} is there twice`)
      this.rows.push({ ...notice, version: ++this.#version, closedBy: undefined })
      return true
    }
    if (notice.lastSeq <= row.lastSeq) return false
    const { notificationId, firstIndex } = row
    Object.assign(row, notice, { notificationId, firstIndex: notice.kind === 'invitation' ? undefined : (firstIndex ?? notice.firstIndex), version: ++this.#version })
    return true
  }
}
