import { AssignerProtocol, type PartitionAssigner } from 'kafkajs'
import { assignCoPartitioned } from '#libs/streams/co-partition.ts'

const NAME = 'order-chat-co-partitioned-sticky'
const VERSION = 1

/**
 * Gives each member the same partition numbers of every topic, and lets it keep what it had. `owned` is asked at every
 * join for what this member has now. kafkajs' own round-robin assigner promises neither.
 */
export function coPartitionedAssigner(partitions: number, owned: () => readonly number[]): PartitionAssigner {
  return () => ({
    name: NAME,
    version: VERSION,
    async assign({ members, topics }) {
      const assignment = assignCoPartitioned(
        members.map(({ memberId, memberMetadata }) => ({ memberId, owned: decodeOwned(memberMetadata) })),
        partitions,
      )
      return [...assignment].map(([memberId, numbers]) => ({
        memberId,
        memberAssignment: AssignerProtocol.MemberAssignment.encode({
          version: VERSION,
          assignment: Object.fromEntries(topics.map((topic) => [topic, numbers])),
          userData: Buffer.alloc(0),
        }),
      }))
    },
    protocol({ topics }) {
      return {
        name: NAME,
        metadata: AssignerProtocol.MemberMetadata.encode({
          version: VERSION,
          topics,
          userData: Buffer.from(JSON.stringify([...owned()])),
        }),
      }
    },
  })
}

/** What a member says it owned only helps to keep partitions in place, so nonsense counts as nothing. */
function decodeOwned(memberMetadata: Buffer): readonly number[] {
  try {
    const { userData } = AssignerProtocol.MemberMetadata.decode(memberMetadata) ?? {}
    const numbers: unknown = JSON.parse(userData?.toString() || '[]')
    return Array.isArray(numbers) ? numbers.filter((n): n is number => Number.isInteger(n)) : []
  } catch {
    return []
  }
}
