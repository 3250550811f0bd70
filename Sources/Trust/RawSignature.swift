extension PublicKey {
    /// Whether `signature` is this key's over `message`, for formats that bring their own envelope (signed notes,
    /// access tokens). A malformed key verifies nothing.
    public func verifies(_ signature: [UInt8], over message: [UInt8]) -> Bool {
        guard let key = try? VerificationKey(self, keyID: keyID) else { return false }
        return key.verify(signature, over: message)
    }
}
