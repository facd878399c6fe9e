import { setUp, setUpConfigFromEnv } from './setup.ts'

try {
  await setUp(setUpConfigFromEnv(process.env))
} catch (err) {
  process.stderr.write(`set-up failed: ${(err as Error)?.stack ?? err}\n`)
  process.exit(1)
}
