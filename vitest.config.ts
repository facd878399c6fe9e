import { configDefaults, defineConfig } from 'vitest/config'

const stackTests = ['test/integration/**/*.test.ts', 'test/e2e/**/*.test.ts', 'test/contract/**/*.test.ts', 'test/hostile/*.stack.test.ts']
// Its subfolders hold the harness, whose own tests need no server.
const faultTests = ['test/faults/*.test.ts']

/** Tests that need the servers: they share one stack, which test/support/global-setup.ts starts. */
const withStack = {
  globalSetup: ['test/support/global-setup.ts'],
  testTimeout: 60_000,
  // The first useStack() of a project may have to start its stack.
  hookTimeout: 180_000,
}

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: [...configDefaults.exclude, '.local/**', ...stackTests, ...faultTests],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...withStack,
          name: 'stack',
          include: stackTests,
          provide: { stackBrokers: 1 },
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...withStack,
          name: 'faults',
          include: faultTests,
          provide: { stackBrokers: 3 },
          // Faults hit the whole stack, so one file has it for itself.
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
