export type GroupMember = {
  readonly memberId: string
  /** Partition numbers that it had before this rebalance. */
  readonly owned: readonly number[]
}

/**
 * Spreads partition numbers 0 … count-1 over members: each number to exactly one, counts differ by at most one, and
 * nobody loses a number that he may keep. A member gets its numbers of *every* topic, so the inputs of a partition
 * always meet in one task. Pure: the same members and count give the same answer in any order of members.
 */
export function assignCoPartitioned(members: readonly GroupMember[], count: number): Map<string, number[]> {
  const sorted = [...members].sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
  const assignment = new Map(sorted.map((m) => [m.memberId, [] as number[]]))
  if (sorted.length === 0) return assignment
  const least = Math.floor(count / sorted.length)
  let extras = count % sorted.length
  const taken = new Set<number>()
  // Those who owned most keep first: they alone can use the quotas of one more.
  for (const member of [...sorted].sort((a, b) => b.owned.length - a.owned.length)) {
    const kept = assignment.get(member.memberId)!
    for (const p of [...new Set(member.owned)].sort((a, b) => a - b)) {
      if (p < 0 || p >= count || taken.has(p)) continue
      if (kept.length >= least + (extras > 0 ? 1 : 0)) break
      if (kept.length === least) extras--
      kept.push(p)
      taken.add(p)
    }
  }
  for (let p = 0; p < count; p++) {
    if (taken.has(p)) continue
    const fewest = [...assignment.values()].reduce((a, b) => (b.length < a.length ? b : a))
    fewest.push(p)
  }
  for (const numbers of assignment.values()) numbers.sort((a, b) => a - b)
  return assignment
}
