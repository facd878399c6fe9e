import { FencedTopic } from './fenced-topic.ts'

/** One change of a user's own list, as far as it is compared. */
export type LoggedChange = {
  readonly userSeq: number
  readonly roomId: string
  readonly roomSeq: number
  readonly isIn: boolean
  readonly messageCount: number
  readonly seen: number
  /** Of all his chats. */
  readonly unread: number
  readonly chats: number
}

type Entry = { readonly [branch: string]: any }

/** `user-events`: the changes of each user's list. */
export class UserLog extends FencedTopic {
  readonly users = new Map<string, LoggedChange[]>()

  protected fold(_partition: number, _offset: bigint, record: any): void {
    const { userId, entries } = record.body['orderchat.UserDecision'] as { userId: string; entries: Entry[] }
    for (const entry of entries) {
      const change = entry['orderchat.ChatChanged']
      if (!change) continue
      const { userSeq, chat, totals } = change
      const { roomId, roomSeq, status, messageCount, seen } = chat
      const changes = this.users.get(userId) ?? []
      this.users.set(userId, changes)
      changes.push({ userSeq, roomId, roomSeq, isIn: status === 'in', messageCount, seen, unread: totals.unread, chats: totals.chats })
    }
  }
}
