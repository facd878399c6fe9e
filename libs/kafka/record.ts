import type { KafkaMessage, Message } from 'kafkajs'
import type { InRecord, OutRecord } from '#libs/streams/record.ts'

export function toInRecord(message: KafkaMessage): InRecord {
  return {
    offset: BigInt(message.offset),
    key: message.key?.toString() ?? null,
    value: message.value,
    headers: message.headers ?? {},
    timestampMs: Number(message.timestamp),
  }
}

export function toMessage(record: OutRecord): Message {
  return {
    key: record.key,
    value: record.value,
    headers: { ...record.headers },
    ...(record.partition !== undefined && { partition: record.partition }),
  }
}
