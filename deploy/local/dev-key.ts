// Makes the development key that signs local tokens, where there is none yet: node dev-key.ts <file>
import { loadOrCreateDevKey } from '#libs/auth/dev-key.ts'

const [, , file] = process.argv
if (file === undefined) throw new Error('usage: node dev-key.ts <file>')
await loadOrCreateDevKey(file)
