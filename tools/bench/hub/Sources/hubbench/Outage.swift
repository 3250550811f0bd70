/// The agent's pacing against the hub's schedule and admission control: the simulation that the tests run too.
enum Outage {
    static func run(seed: UInt64) throws {
        for (name, outage, end) in [
            ("an hour without the hub", 600..<4_200, PollSimulation<Seeded>.End.hubReturns),
            ("power back everywhere in one second", 600..<900, .powerReturns),
        ] {
            var simulation = PollSimulation(
                devices: 100_000, outage: outage, intervalsAfter: 4, end: end, generator: Seeded(state: seed))
            try simulation.run()
            print(
                "\(name): seed \(seed), peak \(simulation.peak) times the steady rate, third interval "
                    + "\(simulation.excess(interval: 2)) above it, \(simulation.refusals) refused")
        }
    }

    /// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    struct Seeded: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var value = state
            value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
            return value ^ (value >> 31)
        }
    }
}
