import HubCore
import HubProtocol
import Testing

@Suite struct PollTests {
    @Test func afterAnHourOfOutageAHundredThousandDevicesMakeNoPeakAndNoEcho() throws {
        let seed = UInt64.random(in: 1...UInt64(1 << 32))
        print("poll simulation: seed \(seed)")
        var simulation = PollSimulation(
            devices: 100_000, outage: 600..<4_200, intervalsAfter: 4, end: .hubReturns,
            generator: SeededGenerator(seed: seed))
        try simulation.run()
        #expect(simulation.peak <= 1.5, "seed \(seed)")
        #expect(simulation.excess(interval: 2) <= 0.1, "seed \(seed)")
        #expect(simulation.refusals == 0, "seed \(seed)")
        print(
            "poll simulation: peak \(simulation.peak) of steady, third interval excess \(simulation.excess(interval: 2))"
        )
    }

    @Test func aPowerCutOfAllDevicesAtOnceMakesNoPeakAndNoEcho() throws {
        let seed = UInt64.random(in: 1...UInt64(1 << 32))
        print("power simulation: seed \(seed)")
        var simulation = PollSimulation(
            devices: 100_000, outage: 600..<900, intervalsAfter: 4, end: .powerReturns,
            generator: SeededGenerator(seed: seed))
        try simulation.run()
        #expect(simulation.peak <= 1.5, "seed \(seed)")
        #expect(simulation.excess(interval: 2) <= 0.1, "seed \(seed)")
        print("power simulation: peak \(simulation.peak), third interval excess  \(simulation.excess(interval: 2))")
    }

    @Test func theSimulationSeesAPeakAndAnEchoWhereThereIsOne() throws {
        var simulation = PollSimulation(
            devices: 10_000, outage: 600..<900, intervalsAfter: 4, end: .naiveReturn,
            generator: SeededGenerator(seed: 1))
        try simulation.run()
        #expect(simulation.peak > 100)
        #expect(simulation.excess(interval: 2) > 10)
    }

    @Test func everyDeviceIsLedToItsSlotInAtMostTwoAnswers() throws {
        let schedule = PollSchedule(interval: 300)
        var generator = SeededGenerator(seed: 3)
        for number in 0..<500 {
            let id = try DeviceID("d-\(number)")
            var now = Double.random(in: 0..<100_000, using: &generator)
            for _ in 0..<2 {
                let wait = schedule.nextPoll(of: id, now: now)
                #expect((285...450).contains(wait))
                now += wait
            }
            #expect(abs((now - schedule.slot(of: id)).remainder(dividingBy: 300)) < 1e-6)
            #expect(abs(schedule.nextPoll(of: id, now: now) - 300) < 1e-6)
        }
        #expect(schedule.nextPoll(of: try DeviceID("d-1"), now: 5, isUpdating: true) == 10)
    }

    @Test func slotsSpreadEvenlyWhateverTheNames() throws {
        for name in ["d-", "berlin-rack-", "0000000"] {
            var counts = Array(repeating: 0, count: 30)
            let schedule = PollSchedule(interval: 30)
            for number in 0..<30_000 { counts[Int(schedule.slot(of: try DeviceID("\(name)\(number)")))] += 1 }
            #expect(counts.allSatisfy { abs($0 - 1_000) < 200 }, "\(name): \(counts)")
        }
    }

    @Test func aSlotIsTheSameInEveryVersion() throws {
        #expect(PollSchedule.hash(try DeviceID("d-1")) == 0xDD29_2E1C_AAB1_EC0F)
    }

    @Test func aDeviceThatAsksTooOftenIsTold() {
        var control = AdmissionControl(.init(rate: 1_000, deviceSpacing: 1, deviceBurst: 5))
        var verdicts: [AdmissionControl.Verdict] = []
        for _ in 0..<7 { verdicts.append(control.judge(device: 1, .idle, now: 10)) }
        #expect(verdicts.prefix(5).allSatisfy { $0 == .admit })
        #expect(verdicts.suffix(2).allSatisfy { $0 == .tooOften(retryAfter: 5) })
        #expect(control.judge(device: 2, .idle, now: 10) == .admit)
        #expect(control.judge(device: 1, .idle, now: 15) == .admit)
    }

    @Test func aCrowdOfIdlePollsLeavesRoomForUpdatesAndEnrolment() {
        var control = AdmissionControl(.init(rate: 100, burst: 100, reserve: 0.2))
        var admitted = 0
        var lastRetry = 0.0
        for device in 0..<1_000 {
            switch control.judge(device: UInt64(device), .idle, now: 1) {
            case .admit: admitted += 1
            case .full(let retry):
                #expect(retry >= lastRetry)
                lastRetry = retry
            case .tooOften: Issue.record("no device asked twice")
            }
        }
        #expect((79...81).contains(admitted))
        // The last of 920 refused gets its place after 920 / 80 seconds.
        #expect((11...12).contains(lastRetry))
        for device in 2_000..<2_010 {
            #expect(control.judge(device: UInt64(device), .updating, now: 1) == .admit)
            #expect(control.judge(device: UInt64(device + 100), .enrolment, now: 1) == .admit)
        }
        guard case .full = control.judge(device: 9_999, .updating, now: 1) else {
            Issue.record("the whole has no bound")
            return
        }
    }

    @Test func unknownDevicesCannotGrowTheTable() {
        var control = AdmissionControl(.init(rate: 1e9, burst: 1e9, devices: 1_000))
        for device in 0..<50_000 { _ = control.judge(device: UInt64(device), .idle, now: Double(device) / 1e5) }
        #expect(control.remembered <= 1_000)
        for device in 0..<500 { _ = control.judge(device: UInt64(device), .idle, now: 100 + Double(device)) }
        #expect(control.remembered <= 1_000)
    }

    @Test func aHostileAnswerCannotMakeADeviceSleepForEverOrSpin() {
        var generator = SeededGenerator(seed: 9)
        var pacer = PollPacer()
        for value in [Double.nan, .infinity, -1, 0, 1e300] {
            let answer = pacer.waitAfterAnswer(nextPoll: value, interval: value, using: &generator)
            #expect((0.9...90_000).contains(answer))
            #expect((1...130_000).contains(pacer.waitAfterRefusal(retryAfter: value, using: &generator)))
            #expect((0.5...130_000).contains(pacer.waitAfterFailure(using: &generator)))
        }
    }
}
