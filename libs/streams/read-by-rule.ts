import { ChatError } from '#libs/domain/errors.ts'
import { ReaderRule, sourceOf } from './reader-rule.ts'
import type { InRecord } from './record.ts'

export type LearningCodec = { decode(bytes: Buffer): unknown; learn(bytes: Buffer): Promise<void> | undefined }

/** Where a reader of one partition of a fenced log stands. */
export type ReadPosition = {
  readonly nextOffset: bigint
  /** The owner epoch in force at `nextOffset`. */
  readonly ownerEpoch: bigint
  /** Last applied offset of each input topic, so far as it is known. */
  readonly lastSources: ReadonlyMap<string, bigint>
}

export type ReadOptions<Decided> = {
  readonly codec: LearningCodec
  /** From what the codec gives; undefined for what is none. */
  readonly decidedOf: (value: unknown) => Decided | undefined
  /** Told by the headers; what is of no concern is not decoded. Default: everything is. */
  readonly concerns?: (record: InRecord) => boolean
}

/**
 * Applies the reader's rule to the next records of a partition, and decodes what is valid and of concern.
 * @throws ChatError `log_corrupt`; `unavailable` while the registry cannot be asked for the schema of a newer writer
 */
export async function readByRule<Decided>(
  { codec, decidedOf, concerns = () => true }: ReadOptions<Decided>,
  before: ReadPosition,
  batch: readonly InRecord[],
): Promise<{ readonly after: ReadPosition; readonly read: readonly { readonly record: InRecord; readonly decided: Decided }[] }> {
  const rule = new ReaderRule(before.ownerEpoch, before.lastSources)
  const lastSources = new Map(before.lastSources)
  const read: { record: InRecord; decided: Decided }[] = []
  for (const record of batch) {
    if (rule.judge(record.offset, record.headers) !== 'valid') continue
    if (concerns(record)) {
      const { offset, value } = record
      if (value === null) throw new ChatError('log_corrupt', `offset ${offset} has no value`)
      const decided = decidedOf(await decodeLearning(codec, value))
      if (decided) read.push({ record, decided })
    }
    const source = sourceOf(record.headers)
    if (source) lastSources.set(source.topic, source.offset)
  }
  return { after: { nextOffset: batch.at(-1)!.offset + 1n, ownerEpoch: rule.epoch, lastSources }, read }
}

/** @throws ChatError `unavailable` while the registry cannot be asked for the schema of a newer writer */
export async function decodeLearning(codec: LearningCodec, value: Buffer): Promise<unknown> {
  try {
    const learning = codec.learn(value)
    if (learning) await learning
  } catch (err) {
    throw new ChatError('unavailable', 'the schema registry', { cause: err })
  }
  return codec.decode(value)
}
