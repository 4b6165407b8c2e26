import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    globalSetup: 'test/compiled.ts',
    pool: 'forks',
    // Many tests wait for processes, clocks of others and the disk: two cores bear three at a time.
    maxWorkers: 3,
  },
})
