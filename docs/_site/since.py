"""Since which version each public name is there; a new one is entered under the version that will bring it."""

NAMES = {
    "0.1.0": """
        add_noise ArrayPredictor backtest BaseDataset baseline_reports BatchSizes BEST_PRACTICES BestCheckpoint
        check_resume ChecklistFilters CheckpointError Checkpointing CheckpointManager clip_grad_norm
        compare_experiments count_parameters create_dataloaders create_evaluator create_species_matrix
        create_trainer Curves DataAugmentation DatasetRegistry deadband_curve describe EarlyStopping
        effort_and_season EpochAverages evaluate evaluate_held_out_species EvaluationEngine
        expected_transmissions ExperimentBusyError ExperimentManager ExponentialMovingAverage export_model
        extract_embeddings FAST_TRAINING find_batch_size find_learning_rate flag_threshold get_device
        getDefaultModelParams GradientClipCallback GradientClipper HeldOutSpecies History
        importance_weighted_nll ImportanceBound InputAugmentation keep_state KLSchedule latent_measures
        LatentMeasures LatentMonitor learn_limits LearningRates LearningRateScheduler LeNet list_experiments
        load_checkpoint load_co2 load_digits_matrix load_ebird_data load_model load_traffic_csv make_resumable
        make_traffic_windows MEMORY_CONSTRAINED_TRAINING MetricSet MetricsTracker MixedPrecisionTrainer
        ModelRegistry multilayer_perceptron MyNet named_metric NoiseAugmentation NonFiniteError NonFiniteGuard
        parts_of plot_deadband_curve plot_history plot_latent plot_places plot_reconstructions predict
        predict_hidden predict_traffic preserve_run print_model_summary ProgramPart ProgressBar RandomAffine
        read_checklists read_checkpoint read_species_matrix read_training_log recipe_trainer report
        restore_newest restore_run ResumeReport Rollback RowDataset run_state RunOptions Runs save_checkpoint
        save_for_inference save_model SaveInside search_many send_on_delta set_seed spatial_blocks
        species_embeddings SpeciesMatrix split_in_time split_train_val STABLE_TRAINING StepValues StopOnSignal
        Stopped TablePredictor TablePreprocessor TensorBoardLog traffic_losses traffic_report TrafficArrays
        TrafficDataset TrafficParameters TrafficPredictor train_many train_model_advanced train_on_table
        train_one_epoch train_variational_autoencoder Trainer TrainEvents TrainingEngine TrainingLog
        TrainingStability TrainingStep trainModel trainModelByDefaultSetting TransmissionCounts Update
        vae_losses validate_model Validation VariationalAutoencoder VectorEmbedder __version__ WindowPredictor
        write_checkpoint write_example_ebd
    """,
}
"""The names that each version brought, in the order of the alphabet."""


def since(name: str) -> str:
    """The version that brought a public name.

    Raises:
        KeyError: if it is not entered.
    """
    for version, names in NAMES.items():
        if name in names.split():
            return version
    raise KeyError(f"{name} must be entered in {__file__}, under the version that brings it")
