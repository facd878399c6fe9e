import { FencedTopic } from './fenced-topic.ts'
import { type Change, changeFields, changeOf } from './history.ts'

/** An event of a room, as far as it is compared. */
export type LoggedEvent = {
  readonly seq: number
  readonly type: string
  readonly timestamp: number
  readonly partition: number
  readonly offset: bigint
  readonly change?: Change
  /** A cursor that the others are not shown. */
  readonly hidden?: true
  /** Of an edit. */
  readonly text?: string
  /** Under which it was asked for, where it is no message. */
  readonly id?: string
  readonly message?: { readonly id: string; readonly messageId: string; readonly senderId: string; readonly text: string; readonly index: number }
}

type Entry = { readonly [branch: string]: Readonly<Record<string, any>> }

/** `room-events`: the events of each room. */
export class TopicLog extends FencedTopic {
  readonly rooms = new Map<string, LoggedEvent[]>()

  protected fold(partition: number, offset: bigint, record: any): void {
    const { roomId, entries } = record.body['orderchat.Decision'] as { roomId: string; entries: Entry[] }
    for (const entry of entries) {
      const [[branch, fields]] = Object.entries(entry) as [[string, Readonly<Record<string, any>>]]
      if (fields['seq'] === undefined) continue
      const name = branch.slice('orderchat.'.length)
      const events = this.rooms.get(roomId) ?? []
      this.rooms.set(roomId, events)
      const type = name.charAt(0).toLowerCase() + name.slice(1)
      events.push({
        seq: fields['seq'],
        type,
        ...changeOf(type, fields),
        ...(fields['hidden']?.boolean === true && { hidden: true }),
        ...(type === 'messageEdited' && { text: fields['content'] }),
        ...(type in changeFields && typeof fields['clientMessageId'] === 'string' && { id: fields['clientMessageId'] }),
        timestamp: fields['timestampMs'],
        partition,
        offset,
        ...(name === 'MessageSent' && {
          message: { id: fields['clientMessageId'], messageId: fields['messageId'], senderId: fields['senderId'], text: fields['content'], index: fields['messageIndex'] },
        }),
      })
    }
  }
}
