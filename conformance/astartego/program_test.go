package astartego

const programVariable = "FAIRLEAD_DEVICE_PROGRAM"

func program() int { return 2 }
