import { describe, expect, test } from 'vitest'
import { brokerIdsIn, metadataRequest } from './kafka-probe.ts'

const text = (value: string): Buffer => Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)])
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

describe('the Kafka probe', () => {
  test('asks for the metadata of no topic', () => {
    const request = metadataRequest()
    expect(request.readInt32BE(0)).toBe(request.length - 4)
    expect([request.readInt16BE(4), request.readInt16BE(6)]).toEqual([3, 5])
  })

  test('reads the brokers, with and without a rack', () => {
    const noRack = Buffer.from([0xff, 0xff])
    const broker = (id: number, rack: Buffer): Buffer => Buffer.concat([int32(id), text('127.0.0.1'), int32(9092), rack])
    const response = Buffer.concat([int32(1), int32(0), int32(2), broker(1, noRack), broker(3, text('rack-b'))])
    expect(brokerIdsIn(response)).toEqual([1, 3])
  })
})
