import Base
import SQLite

extension SQLiteMetadataStore {
    public func acquire(
        _ name: String, holder: String, seconds: Int64, now: Timestamp
    ) async throws -> LeaseOutcome {
        try check(name.utf8.count, HubStoreLimits.idLength, "bytes of a lease's name")
        try check(holder.utf8.count, HubStoreLimits.idLength, "bytes of a lease holder's name")
        return try connection.transaction("hub.lease") {
            let found = try lease(name)
            if let found, found.holder != holder, now < found.expires {
                return .held(by: found.holder, until: found.expires)
            }
            // Only a lease that never left its holder keeps its number.
            let isRenewal = found.map { $0.holder == holder && now < $0.expires } ?? false
            let granted = Lease(
                name: name, holder: holder, fencing: (found?.fencing ?? 0) + (isRenewal ? 0 : 1),
                expires: now + seconds)
            try write(granted)
            return .granted(granted)
        }
    }

    public func release(_ lease: Lease) async throws {
        try connection.transaction("hub.lease") {
            guard var found = try self.lease(lease.name), found.fencing == lease.fencing, found.holder == lease.holder
            else { return }
            // The row stays: its number must go on growing.
            found.expires = Timestamp(seconds: 0)
            try write(found)
        }
    }

    /// Inside the transaction of a commit.
    func requireLease(_ lease: Lease) throws {
        guard let found = try self.lease(lease.name), found.fencing == lease.fencing, found.holder == lease.holder,
            found.expires > Timestamp(seconds: 0)
        else { throw HubStoreError(.leaseLost, "lease \(lease.name)", "is no longer held by \(lease.holder)") }
    }

    private func lease(_ name: String) throws -> Lease? {
        try connection.first("SELECT holder, fencing, expires FROM lease WHERE name = ?", .text(name)) { row in
            Lease(
                name: name, holder: try row.text(0), fencing: try row.integer(1), expires: try row.timestamp(2))
        }
    }

    private func write(_ lease: Lease) throws {
        try connection.run(
            """
            INSERT INTO lease (name, holder, fencing, expires) VALUES (?, ?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fencing = excluded.fencing,
            expires = excluded.expires
            """,
            .text(lease.name), .text(lease.holder), .integer(lease.fencing), SQLiteValue(lease.expires))
    }
}
