package awsiot

// jobsDataOperations are those of the jobs data plane, service "iot-jobs-data".
func jobsDataOperations() []operation { return nil }
